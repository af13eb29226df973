"""Scores of prediction sets, against a loop."""

import numpy as np
import pandas as pd
import pytest

from hrca.metrics import set_scores

RNG = np.random.default_rng(0)
LABELS = RNG.choice(["a", "b", "c"], 200)


def test_set_scores_are_a_loop_over_cells():
    sets = pd.DataFrame(RNG.random((200, 2)) < 0.5, columns=["a", "b"])  # "c" is in no set
    table = set_scores(LABELS, sets, by=LABELS)
    for label in "abc":
        cells = np.flatnonzero(LABELS == label)
        covered = [label in sets and bool(sets.loc[cell, label]) for cell in cells]
        size = [int(sets.loc[cell].sum()) for cell in cells]
        expected = [len(cells), np.mean(covered), np.mean(size), np.mean(np.equal(size, 0))]
        np.testing.assert_allclose(table.loc[label], expected)
    everything = set_scores(LABELS, sets)
    assert list(everything.index) == ["all"]
    assert everything.loc["all", "coverage"] == pytest.approx(np.average(table["coverage"], weights=table["n_obs"]))


def test_a_slash_in_a_label_is_found_in_obsm():
    assert set_scores(["L2/3"], pd.DataFrame({"L2|3": [True]})).loc["all", "coverage"] == 1


def test_sets_of_other_cells_raise():
    with pytest.raises(ValueError, match="got 1 and 2"):
        set_scores(["a"], pd.DataFrame({"a": [True, False]}))
