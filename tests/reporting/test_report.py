"""The report holds what the prediction found, warnings first, and nothing of the user's data can act in it."""

import base64
import html
import io
import re
import struct
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from markupsafe import Markup
from matplotlib.colors import to_rgb
from PIL import Image

import hrca
from hrca.pl._palette import LABEL_COLORS
from hrca.reporting._cells import AnnotatedCells
from hrca.reporting._pictures import MAX_BYTES, embedding, picture

# of matplotlib, by way of scanpy
pytestmark = pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")

EVIL = "</script><script>document.title='hacked'</script>"


@pytest.fixture
def annotated(tiny_model) -> ad.AnnData:
    """200 cells with coordinates, a UMAP, two samples and known labels, a tenth of them wrong, annotated."""
    adata = synthetic(200, seed=3)
    tiny_model.predict(adata, coverage=0.9, enable_progress_bar=False)
    rng = np.random.default_rng(0)
    adata.obsm["spatial"], adata.obsm["X_umap"] = rng.random((200, 2)) * 500, rng.random((200, 2))
    adata.obs["sample"] = ["one", "two"] * 100
    adata.obs["known"] = adata.obs["hrca"].astype(str).where(np.arange(200) % 10 > 0, "type 1")
    return adata


def write(adata, folder, **arguments) -> str:
    return hrca.report(adata, folder / "report.html", **arguments).read_text()


def text_of(page: str) -> str:
    """The visible text, in which entities are characters."""
    body = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_report_has_all_parts_and_loads_nothing(annotated, tiny_model, tmp_path):
    page = write(
        annotated, tmp_path, model=tiny_model, true_labels_key="known", sample_key="sample", microns_per_unit=1
    )
    text = text_of(page)
    for part in (
        "Cell types of 200 cells",
        "Labels and confidence",
        "Section",
        "UMAP",
        "Composition",
        "Novel cells",
        "Prediction sets",
        "Confusions",
        "Inputs and decisions",
        "The model",
        "60 of the model's 60",
        tiny_model.model_id_,
        "Known label",
        "macro-F1",
    ):
        assert part in text, part
    # markers, three sections, UMAP, composition, novelty, sets, confusion, reliability, training
    assert page.count("data:image/png;base64,") == 11
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 5_000_000


def test_the_object_does_not_change(annotated, tmp_path):
    annotated.obs["text"] = "a"
    before = annotated.copy()
    write(annotated, tmp_path, sample_key="sample")
    pd.testing.assert_frame_equal(annotated.obs, before.obs)
    assert (annotated.X != before.X).nnz == 0
    assert set(annotated.uns) == set(before.uns) and set(annotated.obsm) == set(before.obsm)


def test_warnings_come_before_everything_else(annotated, tmp_path):
    annotated.uns["hrca"]["warnings"] = np.array(["Most cells are `odd<1` & <b>strange</b>."])
    page = write(annotated, tmp_path)
    assert "<li>Most cells are <code>odd&lt;1</code> &amp; &lt;b&gt;strange&lt;/b&gt;.</li>" in page
    assert page.index("Most cells are") < page.index('class="numbers"') < page.index('id="labels"')
    annotated.uns["hrca"]["warnings"] = np.array([], dtype=str)
    assert "The prediction gave no warning." in write(annotated, tmp_path)


def test_cells_that_are_not_scored_are_named_first(annotated, tmp_path):
    annotated.uns["hrca"]["warnings"] = np.array([], dtype=str)
    annotated.obs["known"] = annotated.obs["known"].replace({"type 2": "Type two"})
    with pytest.warns(UserWarning, match=r"labelled cells are not scored.*'Type two'") as caught:
        page = write(annotated, tmp_path, true_labels_key="known")
    assert len(caught) == 1
    text = text_of(page)
    assert "The prediction gave no warning" not in text
    assert f"Read this first {caught[0].message}" in text
    # not in the confusion matrix, the reliability or the reasons: only the sentence has the name
    assert text.count("Type two") == 1


def test_labels_that_the_model_does_not_know_at_all_are_refused_before_the_work(annotated, tmp_path):
    annotated.obs["known"] = "another"
    with pytest.raises(ValueError, match="a label that the model knows, but obs\\['known'\\] has \\['another'\\]"):
        write(annotated, tmp_path, true_labels_key="known")
    assert not (tmp_path / "report.html").exists()


def test_the_report_has_the_groups_of_the_prediction(annotated, tmp_path):
    annotated.obs["hrca_novel_probability"] = 1.0
    assert "It was not estimated which cells are of none of the labels" in text_of(write(annotated, tmp_path))
    annotated.uns["hrca"]["open_set"] = True
    table = {"n_cells": np.array([1234]), "label": np.array(["type 1"]), "genes": np.array(["gene3, gene4"])}
    annotated.uns["hrca"]["novel_groups"] = table
    text = text_of(write(annotated, tmp_path))
    assert "1,234 type 1 gene3, gene4" in text
    assert 'in the shell --novelty-fpr 0.05 , labels such cells "Unknown".' in text
    annotated.uns["hrca"] |= {"novelty_fpr": 0.05, "unlabeled_category": "no type"}
    text = text_of(write(annotated, tmp_path))
    assert 'The cells themselves are labelled "no type".' in text and "novelty-fpr" not in text
    annotated.uns["hrca"]["novel_groups"] = {name: values[:0] for name, values in table.items()}
    annotated.obs["hrca_novel_probability"] = 0.2
    annotated.obs["hrca_novelty"] = np.linspace(0, 0.9, 200)
    none = "No cell is probably of a type that the reference lacks: none has a novel probability of at least .5."
    text = text_of(write(annotated, tmp_path))
    assert f"{none} Novelty ranks" in text and "explains some labels worse" not in text
    is_last = (annotated.obs["hrca"] == "type 1").to_numpy()
    annotated.obs.loc[is_last, "hrca_novelty"] = 0.99
    text = text_of(write(annotated, tmp_path))
    has = f"The last twentieth of the novelty has 100% of the {is_last.sum()} cells with the label type 1."
    assert f"{none} But the reference explains some labels worse than others. {has}" in text


def test_a_test_of_left_out_labels_names_its_table_as_code(annotated, tmp_path):
    annotated.obs["hrca_novel_probability"] = 0.2
    table = {"label": np.array(["type 0"]), "n_cells": np.array([90]), "novel_probability": np.array([0.1])}
    annotated.uns["hrca"]["left_out_labels"] = table
    page = write(annotated, tmp_path)
    assert "<code>left_out_labels</code> in the entry of uns has the result for each label." in page
    assert "`" not in text_of(page)


def test_a_message_precedes_the_umap(annotated, tmp_path, caplog):
    with caplog.at_level("INFO", logger="hrca"):
        write(annotated, tmp_path)
        assert "UMAP of" not in caplog.text
        del annotated.obsm["X_umap"]
        write(annotated, tmp_path)
    assert "UMAP of 200 cells" in caplog.text


def test_text_of_the_user_cannot_act(annotated, tmp_path):
    annotated.obs["hrca"] = annotated.obs["hrca"].cat.rename_categories({"type 0": EVIL})
    annotated.obs["sample"] = annotated.obs["sample"].replace({"one": EVIL})
    image = '"><img src=x onerror=alert(1)>'
    annotated.obs["known"] = annotated.obs["known"].replace({"type 0": EVIL, "type 2": image})
    annotated.uns["hrca"]["labels"] = np.array([EVIL, "type 1", "type 2"])
    annotated.uns["hrca"]["layer"] = "X"
    with pytest.warns(UserWarning, match="labelled cells are not scored"):
        page = write(annotated, tmp_path, sample_key="sample", true_labels_key="known", title=EVIL)
    assert EVIL not in page and "<img src=x" not in page
    # Jinja writes a quotation mark in another way than Python
    escaped = str(Markup.escape(EVIL))
    for place in (f"<title>{escaped}", f"<td>{escaped}"):
        assert place in page
    assert "\\u003c/script\\u003e" in page
    assert page.count("<script") == 1


def test_without_anything_but_labels_there_is_a_report(tmp_path):
    adata = synthetic(40)
    adata.obs["mine"] = adata.obs["cell_type"]
    text = text_of(write(adata, tmp_path, key_added="mine"))
    assert "It was not estimated which cells are of none of the labels" in text
    assert "made without the model" in text


FROM_REFERENCE = "Marker genes of the labels in the reference"
FROM_QUERY = "Genes that are highest in the cells of each label."


def test_labels_of_few_cells_have_no_marker_genes(tmp_path):
    adata = synthetic(40)
    adata.obs["hrca"] = ["Unknown"] * 12 + [f"type {i}" for i in range(4) for _ in range(7)]
    text = text_of(write(adata, tmp_path))
    assert FROM_REFERENCE not in text and FROM_QUERY not in text


def test_marker_genes_are_those_of_the_reference_where_the_query_has_them(annotated, tiny_model, tmp_path):
    text = text_of(write(annotated, tmp_path, model=tiny_model))
    assert FROM_REFERENCE in text and FROM_QUERY not in text
    annotated.var_names = annotated.var_names.str.upper()
    assert FROM_REFERENCE in text_of(write(annotated, tmp_path, model=tiny_model))


@pytest.mark.parametrize("case", ["ancestors", "other names"])
def test_without_genes_of_the_reference_the_query_chooses_them(annotated, tiny_model, tmp_path, case):
    if case == "ancestors":
        annotated.obs["hrca"] = "a class"
    else:
        annotated.var_names = [f"ENSG{i}" for i in range(annotated.n_vars)]
    text = text_of(write(annotated, tmp_path, model=tiny_model))
    assert FROM_QUERY in text and FROM_REFERENCE not in text
    assert "`model=`" not in text


def test_without_a_count_likelihood_no_gene_is_said_to_be_of_the_reference(annotated, tiny_networks, tmp_path):
    annotated.uns["hrca"]["model_id"] = tiny_networks.model_id_
    text = text_of(write(annotated, tmp_path, model=tiny_networks, true_labels_key="known"))
    assert tiny_networks.model_id_ in text and "tell the two labels apart best." in text
    for phrase in (FROM_REFERENCE, "apart best in the reference", "crossed out", "fraction of the divergence"):
        assert phrase not in text


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (lambda a: None, {"key_added": "other"}, ValueError, "obs must have the labels 'other'"),
        (
            lambda a: None,
            {"true_labels_key": "no"},
            ValueError,
            "`true_labels_key` must name a column of obs",
        ),
        (lambda a: None, {"sample_key": "no"}, ValueError, "`sample_key` must name a column of obs, got 'no'"),
        (lambda a: a.uns["hrca"].update(layer="gone"), {}, ValueError, "read the counts from 'gone'"),
        (lambda a: a.obsm.pop("spatial"), {"microns_per_unit": 1}, ValueError, "got 1, but the cells have none. Add"),
        (lambda a: a.uns["hrca"].update(model_id="other"), {"model": 1}, ValueError, "must be the model of the predic"),
    ],
)
def test_what_cannot_be_reported_raises(annotated, tiny_model, tmp_path, change, arguments, error, message):
    change(annotated)
    if "model" in arguments:
        arguments = {"model": tiny_model}
    with pytest.raises(error, match=message):
        write(annotated, tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_and_an_empty_object_raise(annotated, tmp_path):
    with pytest.raises(FileNotFoundError, match="The folder of `path` must exist"):
        hrca.report(annotated, tmp_path / "no" / "report.html")
    with pytest.raises(ValueError, match="at least one cell"):
        hrca.report(annotated[:0].copy(), tmp_path / "report.html")


def test_a_umap_is_computed_where_none_is_there(annotated, tmp_path):
    del annotated.obsm["X_umap"]
    text = text_of(write(annotated, tmp_path))
    assert "UMAP of all cells, from principal components" in text


def test_a_large_picture_is_made_small():
    def draw():
        import matplotlib.pyplot as plt

        ax = plt.figure(figsize=(20, 20)).subplots()
        noise = 0.4 + 0.2 * np.random.default_rng(0).random((2000, 2000, 3))
        ax.imshow(noise, aspect="auto", interpolation="nearest")
        # as in a legend
        for i, color in enumerate(LABEL_COLORS[:11]):
            ax.figure.text(0.92, 0.1 + 0.05 * i, "\N{BLACK CIRCLE}", color=color, fontsize=14)
        return ax

    drawn = picture(draw)
    png = base64.b64decode(drawn.source.split(",")[1])
    assert len(png) <= MAX_BYTES
    assert struct.unpack(">II", png[16:24]) == (drawn.width, drawn.height)
    assert drawn.width < 2000
    stored = np.unique(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3), axis=0).astype(int)
    for color in LABEL_COLORS[:11]:
        assert np.abs(stored - np.array(to_rgb(color)) * 255).sum(axis=1).min() < 60, color


def test_the_template_is_in_the_package():
    assert (Path(hrca.__file__).parent / "reporting" / "report.html.j2").is_file()


def test_the_umap_of_the_report_has_what_tells_novel_cells(annotated):
    annotated.uns["hrca"]["unlabeled_category"] = "no type"
    embedded, _ = embedding(AnnotatedCells(annotated, "hrca"), annotated)
    assert list(embedded.obs) == ["hrca", "hrca_confidence", "hrca_novel_probability"]
    assert embedded.uns["hrca"]["unlabeled_category"] == "no type"


@pytest.mark.parametrize("n_obs", [1, 2, 9, 10])
def test_few_cells_have_a_report(tiny_model, tmp_path, n_obs):
    cells = synthetic(n_obs, seed=3)
    tiny_model.predict(cells, coverage=0.9, enable_progress_bar=False)
    page = write(cells, tmp_path)
    assert ('id="umap"' in page) == (n_obs >= 10)
    assert ('href="#umap"' in page) == (n_obs >= 10)
