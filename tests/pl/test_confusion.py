"""The confusion matrix shows the percentages that it claims to show, and has room for its labels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from hrca.pl import confusion, confusion_figure


def check_percentages(ax):
    """Check the plot of four B, three of them predicted B and one T, and of two T, one T and one Unknown."""
    np.testing.assert_allclose(ax.collections[0].get_array().reshape(2, 3), [[75, 25, 0], [0, 50, 50]])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["B", "T", "Unknown"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["B (4)", "T (2)"]
    printed = {text.get_position(): text.get_text() for text in ax.texts}
    assert printed == {(0.5, 0.5): "75", (1.5, 0.5): "25", (1.5, 1.5): "50", (2.5, 1.5): "50"}
    # the first label is at the top, and the correct labels are framed
    assert ax.get_ylim() == (2, 0)
    assert [patch.get_xy() for patch in ax.patches] == [(0, 0), (1, 1)]
    assert ax.get_title() == "67% of 6 labels are correct"


SIX_LABELS, SIX_PREDICTED = ["B"] * 4 + ["T"] * 2, ["B", "B", "B", "T", "T", "Unknown"]


def test_confusion_draws_the_percentages_of_each_label():
    ax = confusion(SIX_LABELS, SIX_PREDICTED)
    check_percentages(ax)


def test_confusion_draws_on_given_axes():
    ax = Figure().subplots()
    assert confusion(["B"], ["B"], ax=ax) is ax


def test_confusion_is_the_current_pyplot_figure():
    ax = confusion(["B", "T"], ["B", "T"])
    assert plt.gcf() is ax.figure


def test_a_confusion_figure_leaves_nothing_to_close(tmp_path):
    before = plt.get_fignums()
    figure = confusion_figure(SIX_LABELS, SIX_PREDICTED)
    check_percentages(figure.axes[0])
    figure.savefig(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert plt.get_fignums() == before


@pytest.mark.parametrize("draw", [confusion, confusion_figure])
def test_confusion_rejects_no_cells(draw):
    with pytest.raises(ValueError, match="at least one"):
        draw([], [])


def test_confusion_prints_white_on_dark_and_nothing_on_empty():
    ax = confusion(["B"] * 1000, ["B"] * 996 + ["T"] * 4, ax=Figure().subplots())
    assert [(text.get_text(), text.get_color()) for text in ax.texts] == [("100", "white")]


@pytest.mark.parametrize("draw", [confusion, confusion_figure])
def test_labels_without_a_name_in_common_are_not_called_wrong(draw):
    figure = draw(["B", "B", "T"], ["b cell", "t cell", "t cell"])
    ax = figure if draw is confusion else figure.axes[0]
    assert ax.get_title() == "Known and predicted labels have no name in common"
    ax.figure.draw_without_rendering()
    extent = ax.title.get_window_extent()
    assert ax.figure.bbox.x0 <= extent.x0 and extent.x1 <= ax.figure.bbox.x1


def test_exchanged_labels_are_wrong():
    ax = confusion(["B", "T"], ["T", "B"], ax=Figure().subplots())
    assert ax.get_title() == "0% of 2 labels are correct"


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
    # a number of two digits is as wide as 10 points
    assert ax.get_window_extent().width / n > 10 * figure.dpi / 72
