"""The share of each step in the time of a prediction."""

import pandas as pd
import pytest

from benchmarks.cost.prediction_steps import OTHER, STEPS, hardly_trained, profile_prediction, shares, simulate
from benchmarks.cost.speed_plan import BASE

CELLS = BASE | {"n_genes": 300, "n_labels": 5, "n_obs": 600, "n_reference": 300, "depth": "deep"}


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    reference, query = simulate(CELLS)
    return profile_prediction(hardly_trained(reference, "laptop"), query)


def test_every_step_is_found_in_the_profile(seconds):
    assert set(seconds) == {"seconds", *STEPS, OTHER}
    assert min(seconds.values()) > 0
    assert sum(seconds[step] for step in (*STEPS, OTHER)) == pytest.approx(seconds["seconds"])


def test_the_table_has_a_column_for_each_point(seconds):
    table = shares(pd.DataFrame([CELLS | seconds, CELLS | seconds | {"n_genes": BASE["n_genes"]}]))
    assert table["step"].tolist() == [*STEPS, OTHER, "seconds"]
    assert table.columns[1].startswith("300 genes")
    assert sum(int(share.rstrip("%")) for share in table.iloc[:-1, 1]) == pytest.approx(100, abs=5)
