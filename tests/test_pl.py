"""The plots show the numbers that they claim to show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colors as mcolors
from matplotlib.figure import Figure

from hrca.pl import confusion, confusion_figure, explain, novelty, reliability, risk_coverage, set_sizes


def check_fractions(ax):
    """Check the plot of four B, three of them predicted B and one T, and of two T, one T and one Unknown."""
    np.testing.assert_allclose(ax.collections[0].get_array().reshape(2, 3), [[0.75, 0.25, 0], [0, 0.5, 0.5]])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["B", "T", "Unknown"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["B (4)", "T (2)"]
    printed = {text.get_position(): text.get_text() for text in ax.texts}
    assert printed == {(0.5, 0.5): "0.75", (1.5, 0.5): "0.25", (1.5, 1.5): "0.50", (2.5, 1.5): "0.50"}
    # the first label is at the top
    assert ax.get_ylim() == (2, 0)


SIX_LABELS, SIX_PREDICTED = ["B"] * 4 + ["T"] * 2, ["B", "B", "B", "T", "T", "Unknown"]


def test_confusion_draws_the_fractions_of_each_label():
    ax = confusion(SIX_LABELS, SIX_PREDICTED)
    check_fractions(ax)
    plt.close(ax.figure)


def test_confusion_draws_on_given_axes():
    ax = Figure().subplots()
    assert confusion(["B"], ["B"], ax=ax) is ax


def test_confusion_is_the_current_pyplot_figure():
    ax = confusion(["B", "T"], ["B", "T"])
    assert plt.gcf() is ax.figure
    plt.close(ax.figure)


def test_a_confusion_figure_leaves_nothing_to_close(tmp_path):
    before = plt.get_fignums()
    figure = confusion_figure(SIX_LABELS, SIX_PREDICTED)
    check_fractions(figure.axes[0])
    figure.savefig(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert plt.get_fignums() == before


@pytest.mark.parametrize("draw", [confusion, confusion_figure])
def test_confusion_of_no_cells_raises(draw):
    with pytest.raises(ValueError, match="at least one"):
        draw([], [])


def test_confusion_prints_white_on_dark_and_nothing_on_empty():
    ax = confusion(["B"] * 1000, ["B"] * 996 + ["T"] * 4, ax=Figure().subplots())
    assert [(text.get_text(), text.get_color()) for text in ax.texts] == [("1.00", "white")]


@pytest.mark.parametrize("n", [1, 40])
def test_confusion_has_room_for_its_labels(n):
    names = [f"a cell type with a rather long name {i}" for i in range(n)]
    figure = confusion_figure(names, names)
    figure.draw_without_rendering()
    ax, bar = figure.axes
    for text in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label, bar.yaxis.label):
        extent = text.get_window_extent()
        assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= extent.y0 and extent.y1 <= figure.bbox.y1
    # a number is as wide as 20 points
    assert ax.get_window_extent().width / n > 20 * figure.dpi / 72


LABELS, PREDICTED, CONFIDENCE = ["B", "B", "T", "T"], ["B", "T", "T", "T"], [0.95, 0.91, 0.5, 0.51]


def test_reliability_draws_a_line_for_each_group_through_its_bins():
    ax = reliability(LABELS, PREDICTED, CONFIDENCE, by=["deep", "deep", "thin", "thin"], ax=Figure().subplots())
    diagonal, deep, thin = ax.lines
    np.testing.assert_allclose(diagonal.get_slope(), 1)
    np.testing.assert_allclose(deep.get_xydata(), [[0.91, 0], [0.95, 1]])
    np.testing.assert_allclose(thin.get_xydata(), [[0.505, 1]])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["deep: 0.480 (2 cells)", "thin: 0.495 (2 cells)"]
    # areas can be compared between lines
    of_deep, of_thin = (points.get_sizes() for points in ax.collections)
    assert of_deep.tolist() == [of_thin[0] / 2] * 2


def test_risk_coverage_draws_the_curve_and_its_area():
    ax = risk_coverage(LABELS, PREDICTED, CONFIDENCE, ax=Figure().subplots())
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.25, 0], [0.5, 0.5], [0.75, 1 / 3], [1, 0.25]])
    assert ax.get_legend().get_texts()[0].get_text() == f"area {np.mean([0, 0.5, 1 / 3, 0.25]):.3f}"


def test_set_sizes_draws_the_fraction_of_each_size():
    sets = pd.DataFrame({"B": [True, False, True, False], "T": [True, True, True, False], "NK": [False] * 4})
    ax = set_sizes(sets, ax=Figure().subplots())
    drawn = {text.get_text(): bars[0] for text, bars in zip(ax.get_legend().get_texts(), ax.containers, strict=True)}
    assert {size: (bar.get_x(), bar.get_width()) for size, bar in drawn.items()} == {
        "0": (0, 0.25),
        "1": (0.25, 0.25),
        "2": (0.5, 0.5),
    }
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["all: 1.2 (4 cells)"]


def test_set_sizes_has_a_bar_for_each_group_in_order():
    sets = pd.DataFrame({"B": [True, False, True], "T": [True, True, True]}, index=["x", "y", "z"])
    depth = pd.Series(
        pd.Categorical(["deep", "thin", "thin"], ["thin", "none", "deep"], ordered=True), index=sets.index
    )
    ax = set_sizes(sets, by=depth, ax=Figure().subplots())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["thin: 1.5 (2 cells)", "deep: 2.0 (1 cells)"]
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [[0.5, 0], [0.5, 1]]


def test_novelty_draws_the_fraction_of_cells_at_least_as_novel():
    ax = novelty([0.9, np.nan, 0.2, 0.5], by=["B", "B", "T", "T"], ax=Figure().subplots())
    diagonal, b, t = ax.lines
    np.testing.assert_allclose(b.get_xydata(), [[0.9, 1]])
    np.testing.assert_allclose(t.get_xydata(), [[0.2, 1], [0.5, 0.5]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["B (1 cells)", "T (2 cells)"]


@pytest.mark.parametrize("draw", [reliability, risk_coverage])
def test_new_axes_are_the_current_pyplot_figure(draw):
    ax = draw(LABELS, PREDICTED, CONFIDENCE)
    assert plt.gcf() is ax.figure
    plt.close(ax.figure)


def test_shades_are_for_groups_with_an_order():
    names = [f"type {i:02d}" for i in range(12)]
    ax = novelty(np.linspace(0, 1, 12), by=names, ax=Figure().subplots())
    colors = np.array([mcolors.to_rgb(line.get_color()) for line in ax.lines[1:]])
    assert len(np.unique(colors, axis=0)) == 12
    assert not (np.diff(colors.mean(axis=1)) > 0).all()
    # the order is not alphabetical, and the index is not that of the scores
    depth = pd.Series(pd.Categorical(names, names[::-1], ordered=True), index=names)
    ordered = novelty(np.linspace(0, 1, 12), by=depth, ax=Figure().subplots())
    assert [text.get_text()[:7] for text in ordered.get_legend().get_texts()] == names[::-1]
    brightness = np.array([mcolors.to_rgb(line.get_color()) for line in ordered.lines[1:]]).mean(axis=1)
    assert (np.diff(brightness) > 0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 10, 41])
def test_many_groups_leave_the_axes_room(n):
    names = [f"type {i}" for i in range(n)]
    sets = pd.DataFrame(np.tri(n, dtype=bool), columns=names)
    for ax in (novelty(np.linspace(0, 1, n), by=names), set_sizes(sets, by=names)):
        ax.figure.canvas.draw()
        legend, figure = ax.get_legend().get_window_extent(), ax.figure.bbox
        assert figure.y0 <= legend.y0
        assert legend.x1 <= figure.x1
        assert ax.get_window_extent().width > 0.4 * figure.width
        assert ax.get_window_extent().height > 0.5 * figure.height
        plt.close(ax.figure)


def contributions() -> pd.DataFrame:
    """A cell and a group; of the cell, one gene speaks for the label in both branches, one against it in one."""
    cell = {"cells": "cell1", "n_cells": 1, "label": "B", "against": "T", "flips": False}
    rows = [
        ("MS4A1", "counts", 3.0, 2.0, True),
        ("MS4A1", "network", 3.0, 1.0, True),
        ("CD3E", "counts", 1.0, -1.5, False),
        ("CD3E", "network", 1.0, 0.5, False),
        ("ACTB", "counts", 9.0, 0.1, False),
        ("ACTB", "network", 9.0, 0.2, False),
        ("(other genes)", "counts", 40.0, -0.25, False),
        ("(no expression)", "network", np.nan, 0.75, False),
    ]
    columns = ["gene", "branch", "count", "contribution", "flips"]
    table = pd.DataFrame([cell | dict(zip(columns, row, strict=True)) for row in rows])
    return pd.concat([table, table.assign(cells="B cells", n_cells=50)], ignore_index=True)


def bars_of(ax) -> dict[str, float]:
    """The sum of the widths at each bar's name."""
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    widths = dict.fromkeys(names, 0.0)
    for bar in ax.patches:
        widths[names[round(bar.get_y() + bar.get_height() / 2)]] += bar.get_width()
    return widths


def test_explain_draws_the_contributions():
    ax = explain(contributions(), "cell1", ax=Figure().subplots())
    widths = {"MS4A1 * (3)": 3, "ACTB (9)": 0.3, "CD3E (1)": -1, "(other genes)": -0.25, "(no expression)": 0.75}
    assert bars_of(ax) == pytest.approx(widths)
    # the first gene is at the top
    assert ax.yaxis_inverted()
    assert list(bars_of(ax))[0] == "MS4A1 * (3)"
    assert ax.get_title() == "cell1: B, against T"
    assert "sum of all rows: +2.8" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["count likelihood", "networks"]
    assert ax.get_legend().get_title().get_text() == "* deleting these\nchanges the label"


def test_explain_stacks_the_branches_without_overlap():
    ax = explain(contributions(), "cell1", ax=Figure().subplots())
    row = [bar for bar in ax.patches if round(bar.get_y() + bar.get_height() / 2) == 0 and bar.get_width()]
    assert sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in row) == [(0, 2), (2, 3)]


def test_genes_that_are_not_shown_are_in_one_bar():
    ax = explain(contributions(), "cell1", n_genes=1, ax=Figure().subplots())
    assert bars_of(ax) == pytest.approx({"MS4A1 * (3)": 3, "(other genes)": -0.95, "(no expression)": 0.75})


def test_explain_of_a_group_says_how_many_cells():
    ax = explain(contributions(), "B cells", ax=Figure().subplots())
    assert ax.get_title() == "B cells, mean of 50 cells: B, against T"


def test_explain_makes_a_figure_that_is_tall_enough():
    many = pd.DataFrame({"gene": [f"g{i}" for i in range(60)], "contribution": np.arange(60.0), "count": 1.0})
    ax = explain(many.assign(cells="c", n_cells=1, label="B", against="T", branch="counts", flips=False), n_genes=60)
    assert ax.figure.get_figheight() > 12
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"must have one cell or group, got 2. `cells=` names .*'cell1', 'B cells'"),
        ({"cells": "cell2"}, "`cells` must be in the table, got 'cell2'"),
        ({"cells": "cell1", "n_genes": 0}, "`n_genes` must be at least 1, got 0"),
    ],
)
def test_explain_of_wrong_arguments_raises(options, message):
    with pytest.raises(ValueError, match=message):
        explain(contributions(), **options)


def test_explain_of_other_tables_raises():
    with pytest.raises(ValueError, match=r"result of `model.explain`, but it lacks the columns \['against', 'branch'"):
        explain(pd.DataFrame({"gene": ["A"]}))


def test_explain_of_an_empty_table_raises():
    with pytest.raises(ValueError, match="must have one cell or group, got 0"):
        explain(contributions().iloc[:0])
