"""Sections, UMAPs, compositions, markers and trainings: what is drawn, in which colors, and what raises."""

from types import SimpleNamespace

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from hrca._records import shown_labels
from hrca.pl import composition, markers, spatial, training, umap
from hrca.pl._cells import column_title, with_categories
from hrca.pl._palette import LABEL_COLORS, is_no_label, label_colors


@pytest.fixture
def cells() -> ad.AnnData:
    """60 annotated cells of two samples: 40 a, 15 b, 4 Unknown, one missing."""
    adata = synthetic(60)
    labels = np.array(["a"] * 40 + ["b"] * 15 + ["Unknown"] * 4 + [None], dtype=object)
    adata.obs["hrca"] = pd.Categorical(labels, categories=["a", "b", "Unknown"])
    adata.obs["hrca_confidence"] = np.linspace(0, 1, 60, dtype=np.float32)
    adata.obs["hrca_novelty"] = np.r_[np.nan, np.linspace(0, 1, 59)].astype(np.float32)
    adata.obs["sample"] = ["one", "two"] * 30
    rng = np.random.default_rng(0)
    adata.obsm["spatial"] = rng.random((60, 3)) * [1000, 400, 1]
    adata.obsm["X_umap"] = rng.random((60, 2))
    return adata


def drawn(ax) -> dict[tuple, int]:
    """Number of points of each color."""
    counts: dict[tuple, int] = {}
    for points in ax.collections:
        if len(points.get_offsets()):
            color = tuple(points.get_facecolor()[0])
            counts[color] = counts.get(color, 0) + len(points.get_offsets())
    return counts


def scale_bars(ax) -> list[str]:
    return [bar.txt_label.get_text() for bar in ax.artists if isinstance(bar, AnchoredSizeBar)]


@pytest.mark.parametrize("draw", [spatial, umap])
def test_each_label_has_its_color_and_the_rarest_is_on_top(cells, draw):
    cells.uns["hrca_colors"] = ["#111111", "#222222", "#333333"]
    ax = draw(cells, ax=Figure().subplots())
    # the missing cell, cells without a label, then from the most frequent label to the rarest
    sizes = [len(points.get_offsets()) for points in ax.collections]
    assert sizes == [1, 4, 40, 15]
    assert drawn(ax) == {to_rgba("lightgray"): 1, to_rgba("#333333"): 4, to_rgba("#111111"): 40, to_rgba("#222222"): 15}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a (40)", "b (15)", "Unknown (4)"]
    assert ax.get_title() == "Predicted label (60 cells)"
    assert all(points.get_rasterized() for points in ax.collections)
    assert "hrca_colors" in cells.uns and cells.obs["hrca"].cat.categories.tolist() == ["a", "b", "Unknown"]


def test_a_section_has_equal_axes_that_point_down_and_a_bar_where_the_unit_is_known(cells):
    ax = spatial(cells, ax=Figure().subplots())
    assert ax.yaxis_inverted() and ax.get_aspect() == 1
    assert ax.get_xlabel() == "x (unit not given)" and scale_bars(ax) == []
    np.testing.assert_allclose(ax.collections[2].get_offsets(), cells.obsm["spatial"][:40, :2])
    ax = spatial(cells, microns_per_unit=1, ax=Figure().subplots())
    assert ax.get_xlabel() == "x (µm)" and scale_bars(ax) == ["200 µm"]
    [bar] = [bar for bar in ax.artists if isinstance(bar, AnchoredSizeBar)]
    assert bar.size_bar.get_children()[0].get_width() == 200
    assert scale_bars(spatial(cells, microns_per_unit=100, ax=Figure().subplots())) == ["20 mm"]
    # Visium HD, as squidpy and spatialdata-io keep it
    cells.uns["spatial"] = {"section": {"scalefactors": {"microns_per_pixel": 0.1}}}
    assert scale_bars(spatial(cells, ax=Figure().subplots())) == ["20 µm"]


def test_every_sample_and_column_has_a_panel(cells):
    axes = spatial(cells, ["hrca", "confidence", "novelty"], sample_key="sample")
    assert [ax.get_title() for ax in axes[:3]] == [
        "one: Predicted label (30 cells)",
        "one: Confidence (30 cells)",
        "one: Novelty (30 cells)",
    ]
    assert len(axes) == 6 and axes[3].get_title().startswith("two: ")
    confidence = axes[1].collections[1]
    assert confidence.get_clim() == (0, 1)
    np.testing.assert_allclose(sorted(confidence.get_array()), cells.obs["hrca_confidence"][::2])
    # the cell without novelty is gray
    assert [len(points.get_offsets()) for points in axes[2].collections] == [1, 29]
    # beside the panel of labels in the first row, and no panel is between them
    assert axes[0].figure.legends == [] and [ax.get_legend() is not None for ax in axes] == [True] + [False] * 5
    axes[0].figure.canvas.draw()
    box = axes[0].get_legend().get_window_extent()
    left, right = axes[0].get_window_extent(), axes[1].get_window_extent()
    assert left.x1 <= box.x0 and box.x1 <= right.x0

    # with the labels at the end of the row, the legend is to the right of the figure
    assert len(spatial(cells, ["confidence", "hrca"])[0].figure.legends) == 1
    # and of labels that are in the second row alone
    later = spatial(cells, ["confidence", "novelty", "hrca_confidence", "hrca", "hrca_novelty"])
    assert [ax.get_legend() is not None for ax in later] == [False, False, False, True, False]


def test_samples_side_by_side_have_panels_of_their_own_size(cells):
    cells.obsm["spatial"] = np.random.default_rng(0).random((60, 2))
    size = spatial(cells, sample_key="sample")[0].figure.get_size_inches()
    cells.obsm["spatial"][:, 0] += 100 * (cells.obs["sample"] == "two")
    np.testing.assert_allclose(spatial(cells, sample_key="sample")[0].figure.get_size_inches(), size)
    # no cell of a sample has a place
    cells.obs["sample"] = cells.obs["sample"].where(np.arange(60) > 0)
    cells.obsm["spatial"][1:] = np.nan
    assert len(spatial(cells, sample_key="sample")) == 2


def test_a_label_has_the_same_color_in_all_columns_and_plots(cells):
    cells.obs["known"] = ["b"] * 30 + ["c"] * 30
    both = umap(cells, ["known", "hrca"])
    alone = umap(cells, ax=Figure().subplots())
    assert drawn(both[1]) == drawn(alone)
    assert to_rgba(LABEL_COLORS[1]) in drawn(both[0]) and to_rgba(LABEL_COLORS[1]) in drawn(alone)
    assert [text.get_text() for text in both[0].figure.legends[0].get_texts()] == ["a", "b", "Unknown", "c"]


def test_tables_of_spatialdata_are_found_and_their_regions_are_panels(cells):
    cells.obs["region"] = pd.Categorical(["left"] * 30 + ["right"] * 30)
    cells.uns["spatialdata_attrs"] = {"region_key": "region", "region": ["left", "right"], "instance_key": "id"}
    sdata = SimpleNamespace(tables={"cells": cells, "bins": synthetic(3)})
    assert [ax.get_title().split(":")[0] for ax in spatial(sdata)] == ["left", "right"]
    with pytest.raises(ValueError, match="0 of \\['bins'\\]"):
        spatial(SimpleNamespace(tables={"bins": synthetic(3)}))


@pytest.mark.parametrize("names", [["text", 3, True], [False, True, True]])
def test_groups_of_any_type_are_labels(cells, names):
    cells.obs["group"] = pd.Series(names * 20, index=cells.obs_names, dtype=object)
    ax = umap(cells, "group", ax=Figure().subplots())
    assert sum(drawn(ax).values()) == 60
    assert {text.get_text().split(" ")[0] for text in ax.get_legend().get_texts()} == {str(name) for name in names}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda cells: None, {"key": "other"}, "obs must have the labels 'other'.*model.predict"),
        (lambda cells: None, {"color": "entropy"}, "`color` must name a column of obs.*'entropy'"),
        (lambda cells: None, {"color": []}, "got an empty list"),
        (lambda cells: None, {"sample_key": "slide"}, "`sample_key` must name a column of obs, got 'slide'"),
        (lambda cells: None, {"microns_per_unit": 0}, "`microns_per_unit` must be positive, got 0"),
        (lambda cells: None, {"color": ["hrca", "confidence"], "ax": Figure().subplots()}, "`ax` can hold one panel"),
        (
            lambda cells: cells.obsm.pop("spatial"),
            {},
            "obsm must have 'spatial' or 'X_spatial'",
        ),
        (lambda cells: cells.obsm.update(spatial=np.zeros((60, 1))), {}, "must have two columns, x and y"),
        (lambda cells: cells.obsm.update(spatial=np.full((60, 2), np.nan)), {}, "no finite number"),
    ],
)
def test_what_cannot_be_drawn_raises(cells, change, arguments, message):
    change(cells)
    with pytest.raises(ValueError, match=message):
        spatial(cells, **arguments)


def test_the_picture_is_written_and_shown(cells, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    umap(cells, show=True, save=tmp_path / "umap.pdf")
    assert (tmp_path / "umap.pdf").read_bytes().startswith(b"%PDF") and shown == [1]
    umap(cells)
    assert shown == [1]


def cielab(color: str) -> np.ndarray:
    """Lightness, red-green and yellow-blue of a color under daylight (CIE 1976; sRGB, IEC 61966-2-1)."""
    rgb = np.array(to_rgba(color)[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.0888])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_forty_labels_have_forty_colors_that_differ():
    names = [f"type {i}" for i in range(40)]
    obs = pd.DataFrame({"hrca": pd.Categorical(names, names)}, index=names)
    colors = list(label_colors(ad.AnnData(obs=obs), ["hrca"]).values())
    assert len(colors) == 40
    lab = np.array([cielab(color) for color in (*colors, "lightgray", "white")])
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(42)
    assert distances[:, :40].min() > 20


def test_the_legend_of_many_labels_is_in_columns_inside_the_figure():
    n = 130
    names = [f"a cell type with a rather long name {i}" for i in range(n)]
    obs = pd.DataFrame({"hrca": pd.Categorical(names * 2, names)}, index=[str(i) for i in range(2 * n)])
    adata = ad.AnnData(obs=obs, obsm={"spatial": np.random.default_rng(0).random((2 * n, 2))})
    ax = spatial(adata)
    figure = ax.figure
    figure.canvas.draw()
    [legend] = figure.legends
    assert len(legend.get_texts()) == 100 and legend.get_texts()[-1].get_text() == "31 more labels"
    extent = legend.get_window_extent()
    assert figure.bbox.y0 <= extent.y0 and extent.x1 <= figure.bbox.x1
    assert extent.x0 >= ax.get_window_extent().x1
    assert ax.get_window_extent().width > 4 * figure.dpi


def test_composition_draws_the_fractions_of_each_sample(cells):
    cells.obs["slide"] = [1] * 40 + [2] * 20
    ax = composition(cells, "slide", ax=Figure().subplots())
    assert ax.get_title() == "Composition: fraction of each predicted label"
    assert ax.get_ylabel() == "obs['slide'] (number of cells)"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1 (40)", "2 (19)"]
    widths = [[bar.get_width() for bar in bars] for bars in ax.containers]
    np.testing.assert_allclose(widths, [[1, 0], [0, 15 / 19], [0, 4 / 19]])
    assert [bars[0].get_facecolor() for bars in ax.containers] == [
        to_rgba(color) for color in (LABEL_COLORS[0], LABEL_COLORS[1], "lightgray")
    ]
    with pytest.raises(ValueError, match="`by` must name a column of obs, got 'area'"):
        composition(cells, "area")
    cells.obs["slide"] = np.nan
    with pytest.raises(ValueError, match="No cell has both"):
        composition(cells, "slide")


# of matplotlib, by way of scanpy
@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_markers_are_the_genes_of_each_label():
    adata = synthetic(90)
    adata.obs["hrca"] = adata.obs["cell_type"].astype("category")
    ax = markers(adata, n_genes=2)
    genes = [int(tick.get_text().removeprefix("gene")) for tick in ax.get_xticklabels()]
    # the genes of label i are those from 10 i to 10 i + 9
    assert [gene // 10 for gene in genes] == [0, 0, 1, 1, 2, 2]
    known = {"type 2": ["gene29", "absent"], "type 0": ["gene0"], "type 9": ["gene1"]}
    ax = markers(adata, known)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["gene0", "gene29"]
    rows = [("type 2", "gene5", 3), ("type 2", "gene29", 2), ("type 2", "gene28", 1), ("type 0", "gene0", 1)]
    rows.append(("type 1", "gene7", 3))
    again = markers(adata, pd.DataFrame(rows, columns=["label", "gene", "rank"]))
    # two other labels have more of gene5, and of gene7
    assert [tick.get_text() for tick in again.get_xticklabels()] == ["gene0", "gene28", "gene29"]
    # two labels have more of every gene that there is
    shared = markers(adata, pd.DataFrame([("type 1", "gene7", 3)], columns=["label", "gene", "rank"]))
    assert [tick.get_text() for tick in shared.get_xticklabels()] == ["gene7"]
    with pytest.raises(ValueError, match="`genes` must name genes of the cells"):
        markers(adata, {"type 0": ["absent"]})


def brackets(ax) -> list[str]:
    """The labels above the genes of a plot of markers."""
    (above,) = [other for other in ax.figure.axes if len(other.texts) and other.get_title()]
    return [text.get_text() for text in above.texts]


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_each_gene_of_the_markers_stands_below_its_label_and_each_label_has_a_row():
    adata = synthetic(95)
    labels = adata.obs["cell_type"].to_numpy(dtype=object)
    labels[90:] = "few"
    adata.obs["hrca"] = pd.Categorical(labels, ["absent", "type 2", "type 1", "type 0", "few", "Unknown"])
    ax = markers(adata, {"absent": ["gene40"], "type 0": ["gene0"], "type 2": ["gene0", "gene29"]})
    rows = [tick.get_text() for tick in ax.get_yticklabels()]
    assert rows == ["absent (0)", "type 2 (30)", "type 1 (30)", "type 0 (30)", "few (5)"]
    assert brackets(ax) == ["absent", "type 2", "type 0"]
    # a gene of two labels is below both
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["gene40", "gene0", "gene29", "gene0"]
    sizes = ax.collections[0].get_sizes().reshape(5, 4)
    assert (sizes[0] == 0).all() and (sizes[1:] > 0).all()
    # without given genes, labels of ten cells have some
    own = markers(adata, n_genes=1)
    assert brackets(own) == ["type 2", "type 1", "type 0"]
    assert len(own.get_yticklabels()) == 5


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_rows_of_markers_are_the_labels_of_the_prediction_also_in_a_subset():
    adata = synthetic(90)
    adata.obs["hrca"] = adata.obs["cell_type"].astype("category")
    adata.uns["hrca"] = {"labels": np.array(["type 0", "type 1", "type 2"])}
    subset = adata[adata.obs["hrca"] != "type 1"].copy()
    rows = [tick.get_text() for tick in markers(subset).get_yticklabels()]
    assert rows == ["type 0 (30)", "type 1 (0)", "type 2 (30)"]
    adata.uns["hrca"] = {"labels": np.array(["type 0", "type 1", "type 2", "unassigned"])}
    assert "unassigned (0)" not in [tick.get_text() for tick in markers(adata).get_yticklabels()]
    adata.uns["hrca"] = "not of HRCA"
    assert len(markers(adata).get_yticklabels()) == 3


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_markers_read_the_matrix_and_the_names_that_predict_read():
    adata = synthetic(90)
    adata.obs["hrca"] = adata.obs["cell_type"].astype("category")
    adata.layers["counts"], adata.X = adata.X.copy(), None
    adata.var["symbol"] = [f"G{i}" for i in range(60)]
    adata.uns["hrca"] = {"layer": "counts", "gene_column": "symbol"}
    ax = markers(adata, n_genes=1)
    assert [int(tick.get_text()[1:]) // 10 for tick in ax.get_xticklabels()] == [0, 1, 2]
    del adata.layers["counts"]
    with pytest.raises(ValueError, match="read the counts from 'counts'"):
        markers(adata)


def test_markers_need_a_label_with_ten_cells(cells):
    cells.obs["hrca"] = [f"type {i // 9}" for i in range(60)]
    with pytest.raises(ValueError, match="must have 10 cells"):
        markers(cells)


@pytest.mark.parametrize(("n_columns", "n_rows"), [(1, 1), (3, 1), (4, 2), (5, 2), (7, 3)])
def test_panels_of_many_columns_are_in_rows(cells, n_columns, n_rows):
    for i in range(n_columns):
        cells.obs[f"column {i}"] = 0.5
    axes = np.atleast_1d(spatial(cells, [f"column {i}" for i in range(n_columns)]))
    assert len({round(ax.get_subplotspec().rowspan.start) for ax in axes}) == n_rows


def test_panels_of_two_columns_have_two_samples_in_a_row(cells):
    cells.obs["sample"] = [str(i % 5) for i in range(60)]
    axes = spatial(cells, ["hrca", "confidence"], sample_key="sample")
    assert [ax.get_subplotspec().rowspan.start for ax in axes] == [0] * 4 + [1] * 4 + [2] * 2


@pytest.mark.parametrize("size", [None, (2.4, 2)])
def test_the_scale_bar_is_below_the_cells_and_beside_the_label(cells, size):
    figure = plt.figure(figsize=(4, 4)) if size is None else plt.figure(figsize=size)
    ax = spatial(cells, microns_per_unit=1, ax=figure.add_axes((0.2, 0.3, 0.5, 0.5)))
    figure.draw_without_rendering()
    [bar] = [bar for bar in ax.artists if isinstance(bar, AnchoredSizeBar)]
    box, label = bar.get_window_extent(), ax.xaxis.label.get_window_extent()
    assert box.y1 <= ax.get_window_extent().y0
    assert not box.overlaps(label)


def many_labels(n: int = 40) -> ad.AnnData:
    names = [f"CD4+/CD45RA+/CD25- Naive T {i}" for i in range(n)]
    obs = pd.DataFrame({"hrca": pd.Categorical(names * 3)}, index=[str(i) for i in range(3 * n)])
    rng = np.random.default_rng(0)
    return ad.AnnData(obs=obs, obsm={"X_umap": rng.random((3 * n, 2)), "spatial": rng.random((3 * n, 2))})


@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.parametrize("size", [(6.4, 4.8), (9, 4)])
def test_a_legend_of_40_labels_is_in_the_figure_and_hides_no_axes(size, n_columns):
    figure, axes = plt.subplots(1, n_columns, figsize=size, squeeze=False)
    axes = list(axes.flat)
    for ax in axes:
        umap(many_labels(), ax=ax)
    figure.draw_without_rendering()
    for ax in axes:
        box = ax.get_legend().get_window_extent()
        assert box.x1 <= figure.bbox.x1 and box.y0 >= figure.bbox.y0
        assert not any(box.overlaps(other.get_window_extent()) for other in axes)
        assert ax.get_window_extent().width > 0.3 * figure.bbox.width / n_columns
        assert len(ax.get_legend().get_texts()) == 40


@pytest.mark.parametrize("draw", [umap, spatial])
def test_cells_without_any_label_are_drawn_on_axes_of_the_user(draw):
    adata = many_labels()
    adata.obs["hrca"] = pd.Categorical([None] * adata.n_obs, categories=[])
    _, ax = plt.subplots()
    assert draw(adata, ax=ax) is ax
    ax.figure.draw_without_rendering()


def test_the_legend_of_a_new_figure_is_in_it_and_hides_no_axes():
    ax = umap(many_labels())
    ax.figure.draw_without_rendering()
    box = ax.figure.legends[0].get_window_extent()
    assert ax.figure.bbox.x0 <= box.x0 and box.x1 <= ax.figure.bbox.x1 and box.y0 >= 0
    assert not box.overlaps(ax.get_window_extent())


def test_training_draws_losses_and_accuracies():
    def frame(*values):
        return pd.DataFrame({"x": values}, index=pd.RangeIndex(len(values), name="epoch"))

    history = {
        "pretrain_train_loss": frame(3.0, 2.0),
        "pretrain_validation_loss": frame(2.5, np.nan),
        "finetune_train_loss": frame(1.0, 0.5, 0.4),
        "finetune_train_accuracy": frame(0.5, 0.75, 0.8),
        "finetune_lr": frame(1, 1, 1),
    }
    axes = training(history)
    assert [ax.get_title() for ax in axes] == ["Pre-training: loss", "Fine-tuning: loss", "Fine-tuning: accuracy"]
    train, validation = axes[0].lines
    np.testing.assert_allclose(train.get_xydata(), [[1, 3], [2, 2]])
    np.testing.assert_allclose(validation.get_xydata(), [[1, 2.5]])
    assert training(history, "finetune_accuracy", ax=Figure().subplots()).get_ylabel() == "Accuracy"
    for empty in ({}, None):
        with pytest.raises(ValueError, match="model.train"):
            training(empty)
    with pytest.raises(ValueError, match="got \\['adapt_loss'\\]; it has \\['pretrain_loss'"):
        training(history, "adapt_loss")
    with pytest.raises(ValueError, match="3 were asked for"):
        training(history, ax=Figure().subplots())


def test_a_title_is_text_also_where_the_key_begins_the_name():
    assert column_title("hrca", "hrca_confidence") == "Confidence"
    assert column_title("hrca", "hrca $x$") == column_title("other", "hrca $x$") == r"hrca \$x\$"


def test_words_for_no_label_are_those_of_a_hierarchy():
    assert is_no_label("not_assigned") and is_no_label(" NaN ") and is_no_label(float("nan")) and not is_no_label("NK")


@pytest.mark.parametrize("name", [None, "no type"])
def test_cells_of_none_of_the_labels_have_no_known_type(cells, name):
    n_novel = 7
    probability = np.zeros(cells.n_obs)
    probability[:n_novel] = [0.5, *[0.9] * (n_novel - 1)]
    probability[n_novel] = 0.49
    cells.obs["hrca_novel_probability"] = probability
    if name is not None:
        cells.uns["hrca"] = {"unlabeled_category": name}
    labels = cells.obs["hrca"].copy()
    shown = shown_labels(cells.obs, cells.uns, "hrca")
    is_changed = (shown.astype(object) != labels.astype(object)) & labels.notna()
    assert np.flatnonzero(is_changed).tolist() == list(range(n_novel))
    ax = umap(cells)
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    # four cells had the label Unknown before
    assert ("Unknown (11)" if name is None else f"{name} (7)") in texts
    pd.testing.assert_series_equal(cells.obs["hrca"], labels)


def test_novel_cells_keep_the_stored_colors_of_the_labels(cells):
    n_labels = len(cells.obs["hrca"].astype("category").cat.categories)
    stored = [f"#0000{i:02x}" for i in range(n_labels)]
    cells.uns["hrca_colors"] = stored
    cells.uns["hrca"] = {"unlabeled_category": "no type"}
    cells.obs["hrca_novel_probability"] = np.where(np.arange(cells.n_obs) < 3, 0.8, 0.1)
    table = with_categories(cells, "hrca")
    colors = label_colors(table, ["hrca"])
    assert [colors[name] for name in table.obs["hrca"].cat.categories] == [*stored, "lightgray"]
    assert cells.uns["hrca_colors"] == stored
