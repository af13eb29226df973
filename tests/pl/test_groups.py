"""Sets and novelty by group: the numbers, the order and the room of many groups."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from hrca.pl import novelty, set_sizes


def names_of(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_set_sizes_draws_the_fraction_of_each_size():
    sets = pd.DataFrame({"B": [True, False, True, False], "T": [True, True, True, False], "NK": [False] * 4})
    ax = set_sizes(sets, ax=Figure().subplots())
    drawn = {text.get_text(): bars[0] for text, bars in zip(ax.get_legend().get_texts(), ax.containers, strict=True)}
    assert {size: (bar.get_x(), bar.get_width()) for size, bar in drawn.items()} == {
        "0": (0, 0.25),
        "1": (0.25, 0.25),
        "2": (0.5, 0.5),
    }
    assert names_of(ax) == ["all: 1.2 (4)"]


def test_large_sets_are_one_size():
    sets = pd.DataFrame(np.tri(8, dtype=bool))
    ax = set_sizes(sets, ax=Figure().subplots())
    widths = {
        text.get_text(): bars[0].get_width()
        for text, bars in zip(ax.get_legend().get_texts(), ax.containers, strict=True)
    }
    assert widths == {"1": 0.125, "2": 0.125, "3": 0.125, "4": 0.125, "5 or more": 0.5}
    # the mean size counts them in full
    assert names_of(ax) == ["all: 4.5 (8)"]


def test_groups_keep_an_order_and_are_sorted_without():
    sets = pd.DataFrame({"B": [True, False, True], "T": [True, True, True]}, index=["x", "y", "z"])
    depth = pd.Series(
        pd.Categorical(["deep", "thin", "thin"], ["thin", "none", "deep"], ordered=True), index=sets.index
    )
    ax = set_sizes(sets, by=depth, ax=Figure().subplots())
    assert names_of(ax) == ["thin: 1.5 (2)", "deep: 2.0 (1)"]
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [[0.5, 0], [0.5, 1]]
    ax = set_sizes(sets, by=["b", "a", "b"], ax=Figure().subplots())
    assert names_of(ax) == ["a: 1.0 (1)", "b: 2.0 (2)"]


def test_set_sizes_rejects_no_cells():
    with pytest.raises(ValueError, match="at least one cell"):
        set_sizes(pd.DataFrame({"B": []}))


def test_novelty_draws_a_histogram():
    ax = novelty([0.9, np.nan, 0.2, 0.21, 1.0], ax=Figure().subplots())
    heights = np.array([bar.get_height() for bar in ax.containers[0]])
    assert np.flatnonzero(heights).tolist() == [4, 18, 19]
    np.testing.assert_allclose(heights[[4, 18, 19]], [0.5, 0.25, 0.25])
    assert ax.get_title() == (
        "Novelty of 4 cells\nAbove the line: more cells than expected if the reference has all types"
    )


def test_novelty_draws_a_row_for_each_group_the_most_novel_first():
    by = pd.Series(["B", "B", "T", "T", "T"], index=list("vwxyz"))
    ax = novelty([0.01, np.nan, 0.02, 0.97, 0.99], by=by, ax=Figure().subplots())
    ratios = ax.collections[0].get_array().reshape(2, 20)
    assert names_of(ax) == ["T: 67% of 3", "B: 0% of 1"]
    np.testing.assert_allclose(ratios[:, 0], [20 / 3, 20])
    np.testing.assert_allclose(ratios[:, 19], [40 / 3, 0])


def test_novelty_rejects_no_number():
    with pytest.raises(ValueError, match="at least one cell"):
        novelty([np.nan, np.nan])


@pytest.mark.parametrize("n", [1, 10, 41])
def test_many_groups_leave_the_axes_room(n):
    names = [f"a cell type with a rather long name {i}" for i in range(n)]
    sets = pd.DataFrame(np.tri(n, dtype=bool), columns=names)
    for ax in (novelty(np.linspace(0, 1, n), by=names), set_sizes(sets, by=names)):
        figure = ax.figure
        figure.canvas.draw()
        texts = [tick.get_window_extent() for tick in ax.get_yticklabels()]
        assert figure.bbox.x0 <= min(text.x0 for text in texts)
        assert not [one for one, two in zip(texts, texts[1:], strict=False) if one.y0 < two.y1 - 1]
        assert ax.get_window_extent().width > 0.3 * figure.bbox.width
        assert ax.get_window_extent().height > 0.5 * figure.bbox.height
        plt.close(figure)
