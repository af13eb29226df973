"""The share of each step in the time of a prediction."""

import time

import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from benchmarks.cost.prediction_steps import OTHER, STEPS, hardly_trained, profile_prediction, shares, simulate
from benchmarks.cost.speed_plan import BASE

CELLS = BASE | {"n_genes": 300, "n_labels": 5, "n_obs": 600, "n_reference": 300, "depth": "deep"}


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    reference, query = simulate(CELLS)
    model = hardly_trained(reference, "laptop")
    with threadpool_limits(1):
        start = time.process_time()
        found = profile_prediction(model, query)
        return found | {"elapsed": time.process_time() - start}


def test_every_step_is_found_in_the_profile(seconds):
    assert set(seconds) == {"seconds", "elapsed", *STEPS, OTHER}
    # a step that contained another one would make the rest negative
    assert min(seconds.values()) > 0
    assert seconds["seconds"] < seconds["elapsed"]


def test_the_table_has_a_column_for_each_point(seconds):
    table = shares(pd.DataFrame([CELLS | seconds, CELLS | seconds | {"n_genes": BASE["n_genes"]}]))
    assert table["step"].tolist() == [*STEPS, OTHER, "seconds"]
    shared = "5 labels, deep query, 600 cells, 300 reference cells"
    assert table.columns.tolist() == ["step", f"300 genes, {shared}", shared]
    assert table.iloc[0, 1] == f"{seconds['network'] / seconds['seconds']:.0%}"
