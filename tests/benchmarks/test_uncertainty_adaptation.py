"""The adaptation benchmark: its cases, its scores and its means."""

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic

from benchmarks.uncertainty import adaptation, open_set


def test_the_cases_are_the_closed_pairs():
    cases = list(adaptation.closed_cases([], 2))
    assert {case.left_out for case in cases} == {"none"}
    assert [case.spec for case in cases] == [*open_set.PAIRS] * 2


def test_never_always_and_choice_are_scored(tiny_model):
    query = synthetic(40, seed=3)
    types = query.obs["cell_type"].to_numpy().astype(str)
    types[:10] = "a type that the reference lacks"
    rows = {
        method: adaptation.score(tiny_model, query, types, options, 0) for method, options in adaptation.METHODS.items()
    }
    # on these cells the branches agree, so that the choice is the original model
    assert {name: row["is_adapted"] for name, row in rows.items()} == {
        "hrca": False,
        "hrca_adapted": True,
        "hrca_selected": False,
    }
    assert rows["hrca"]["macro_f1"] == rows["hrca_selected"]["macro_f1"] == 1
    assert not tiny_model.module.is_adapted


def test_the_summary_compares_each_query_with_the_unadapted_model():
    rows = pd.DataFrame(
        {
            "pair": ["a", "b", "a", "b"],
            "left_out": "none",
            "depth": 1.0,
            "seed": 0,
            "method": ["hrca", "hrca", "hrca_adapted", "hrca_adapted"],
            "macro_f1": [0.8, 0.6, 0.7, 0.9],
            "is_adapted": [False, False, True, True],
        }
    )
    table = adaptation.summary(rows)
    np.testing.assert_allclose(table.loc["hrca_adapted"], [0.8, 1, -0.1, 0.3])
    assert table.loc["hrca", "macro_f1"] == pytest.approx(0.7)
