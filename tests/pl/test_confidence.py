"""Reliability and risk-coverage plots show the bins and curves of `hrca.metrics`."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from hrca.pl import reliability, risk_coverage

LABELS, PREDICTED, CONFIDENCE = ["B", "B", "T", "T"], ["B", "T", "T", "T"], [0.95, 0.91, 0.5, 0.51]


def lines_of(ax):
    """Points of the curves; the diagonal has no slope of None."""
    return [line for line in ax.lines if not hasattr(line, "get_slope")]


def test_reliability_draws_a_line_for_each_group_through_its_bins():
    ax = reliability(LABELS, PREDICTED, CONFIDENCE, by=["deep", "deep", "thin", "thin"], ax=Figure().subplots())
    deep, thin = lines_of(ax)
    np.testing.assert_allclose(deep.get_xydata(), [[0.91, 0], [0.95, 1]])
    np.testing.assert_allclose(thin.get_xydata(), [[0.505, 1]])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["deep: 0.480 (2 cells)", "thin: 0.495 (2 cells)"]
    # areas can be compared between lines
    of_deep, of_thin = (points.get_sizes() for points in ax.collections)
    assert of_deep.tolist() == [of_thin[0] / 2] * 2
    # markers differ as well as colors
    assert len(of_deep) and len({points.get_paths()[0].vertices.tobytes() for points in ax.collections}) == 2


def test_many_groups_have_a_panel_each_unless_axes_are_given():
    groups = [f"type {i}" for i in range(7)]
    axes = reliability(["B"] * 7, ["B"] * 7, np.linspace(0.1, 0.9, 7), by=groups)
    assert [ax.get_title() for ax in axes] == [
        f"type {i}\n{e:.3f} (1 cell)" for i, e in enumerate(1 - np.linspace(0.1, 0.9, 7))
    ]
    for i, ax in enumerate(axes):
        [line] = lines_of(ax)
        np.testing.assert_allclose(line.get_xydata(), [[np.linspace(0.1, 0.9, 7)[i], 1]])
    plt.close(axes[0].figure)
    ax = reliability(["B"] * 7, ["B"] * 7, np.linspace(0.1, 0.9, 7), by=groups, ax=Figure().subplots())
    assert len(lines_of(ax)) == 7


def test_forty_panels_do_not_overlap():
    groups = [f"a cell type with a rather long name {i}" for i in range(40)]
    axes = reliability(["B"] * 40, ["B"] * 40, np.linspace(0, 1, 40), by=groups)
    figure = axes[0].figure
    figure.canvas.draw()
    titles = [ax.title.get_window_extent() for ax in axes]
    assert not [one for one, two in zip(titles[:5], titles[1:6], strict=True) if one.x1 > two.x0]
    assert all(title.y0 >= ax.get_window_extent().y1 for title, ax in zip(titles, axes, strict=True))


def test_risk_coverage_draws_the_curve_and_its_area():
    ax = risk_coverage(LABELS, PREDICTED, CONFIDENCE, ax=Figure().subplots())
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.25, 0], [0.5, 0.5], [0.75, 1 / 3], [1, 0.25]])
    assert ax.get_legend().get_texts()[0].get_text() == f"area {np.mean([0, 0.5, 1 / 3, 0.25]):.3f}"
    assert ax.get_title() == "Errors among the most confident cells (4 cells)"


@pytest.mark.parametrize("draw", [reliability, risk_coverage])
def test_new_axes_are_the_current_pyplot_figure_and_are_saved(draw, tmp_path):
    ax = draw(LABELS, PREDICTED, CONFIDENCE, save=tmp_path / "plot.png")
    assert plt.gcf() is ax.figure
    assert (tmp_path / "plot.png").stat().st_size > 1000
