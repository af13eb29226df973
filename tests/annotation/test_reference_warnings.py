"""Doubts about the labels and the training of a model reach its predictions and the report."""

import re
import warnings

import numpy as np
import pytest
from conftest import QUIET, TINY, synthetic

import hrca
from hrca.annotation._reference_warnings import few_genes_warning, label_warnings

LABELS = ["B", "Ambiguous", "T cell", "t  cell", "doublet"]


@pytest.mark.parametrize(
    ("n_cells", "label_counts", "expected"),
    [
        ([9, 0, 0, 0, 0], [9, 1, 1, 1, 1], []),
        ([9, 0, 0, 0, 0], None, []),
        (
            [9, 2, 0, 0, 1000],
            [9, 9, 9, 9, 9],
            [
                "1,002 cells most probably have a label that names a quality class or a rest, not a cell type: "
                "'doublet' (1,000), 'Ambiguous' (2). Treat these cells as cells without a label"
            ],
        ),
        ([9, 1, 0, 0, 0], None, ["1 cell most probably has a label that names a quality class"]),
        (
            [2, 0, 0, 0, 0],
            [1, 9, 9, 9, 9],
            [
                "2 cells most probably have a label with fewer than 3 reference cells: 'B' (2). These labels are "
                "unreliable. Add reference cells, or leave these labels out."
            ],
        ),
        # the other spelling has no cell of this query, but took its part of the reference
        (
            [0, 0, 4, 0, 0],
            [9, 9, 9, 9, 9],
            [
                "4 cells most probably have a label that differs from another one only by case or blanks, such as "
                "['T cell', 't  cell']: 'T cell' (4)."
            ],
        ),
    ],
)
def test_only_labels_that_cells_get_are_doubted(n_cells, label_counts, expected):
    found = label_warnings(np.array(n_cells), LABELS, label_counts)
    assert len(found) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(found, expected, strict=True))


def test_the_labels_of_most_cells_are_named_first():
    labels = [f"doublet{'s' * (i % 2)}{' ' * (i // 2)}" for i in range(5)]
    [sentence, _] = label_warnings(np.array([1, 2, 3, 4, 5]), labels, None)
    named = re.findall(r"'(doublets? *)' \(\d\)", sentence)
    assert named == [labels[4], labels[3], labels[2]] and "and 2 more." in sentence


def reference_with(name: str, n_cells: int):
    adata = synthetic(120)
    labels = adata.obs["cell_type"].astype(str).to_numpy()
    labels[np.flatnonzero(labels == "type 1")[:n_cells]] = name
    adata.obs["cell_type"] = labels
    return adata


def test_classes_of_quality_control_are_in_the_prediction_of_a_loaded_model_and_in_the_report(tmp_path):
    reference = reference_with("Low-quality", 40)
    with pytest.warns(UserWarning, match="look like classes of quality control"):
        hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    query = synthetic(100, seed=5)
    with pytest.warns(UserWarning, match="names a quality class") as caught:
        loaded.predict(query, enable_progress_bar=False)
    n_cells = (query.obs["hrca"] == "Low-quality").sum()
    assert n_cells > 10
    [sentence] = query.uns["hrca"]["warnings"]
    assert sentence == str(caught[0].message) and f"'Low-quality' ({n_cells})" in sentence
    page = hrca.report(query, tmp_path / "report.html", model=loaded).read_text()
    start = page.index("Read this first")
    assert "names a quality class" in page[start : page.index("</section>", start)]


def test_doubts_of_the_training_stay_with_the_model(tmp_path):
    hrca.HRCA.setup_anndata(reference := synthetic(100), labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    with pytest.warns(UserWarning, match="The classifier has learned nothing") as caught:
        model.train(8, pretrain_epochs=1, lr=100, batch_size=32, **QUIET)
    sentence = str(caught[0].message)
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model", reference)
    query = synthetic(50, seed=5)
    with pytest.warns(UserWarning, match="The classifier has learned nothing"):
        loaded.predict(query, enable_progress_bar=False)
    assert query.uns["hrca"]["warnings"][0] == sentence
    # a training of the classifier replaces what the last one said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded.finetune(1, **QUIET)
        loaded.predict(query, enable_progress_bar=False)
    assert sentence not in query.uns["hrca"]["warnings"]


def test_the_warning_of_reweighted_sets_is_recorded(tmp_path):
    hrca.HRCA.setup_anndata(reference := synthetic(100), labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    query = synthetic(50, seed=5)
    with pytest.warns(UserWarning, match="The reweighted sets are computed from") as caught:
        model.predict(query, coverage=0.8, reweight_to_query=True, enable_progress_bar=False)
    assert str(caught[0].message) in query.uns["hrca"]["warnings"]


def test_few_genes_are_warned_of_in_each_prediction():
    adata = synthetic(200, n_genes=29)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    query = synthetic(20, n_genes=29)
    with pytest.warns(UserWarning, match=r"The model has 29 genes. With fewer than 30.*also with a high confidence"):
        model.predict(query, enable_progress_bar=False)
    assert any("29 genes" in sentence for sentence in query.uns["hrca"]["warnings"])


@pytest.mark.parametrize(("n_genes", "expected"), [(30, None), (29, "29 genes."), (1, "The model has 1 gene.")])
def test_the_limit_of_few_genes(n_genes, expected):
    sentence = few_genes_warning(n_genes)
    assert (sentence is None) if expected is None else (expected in sentence)
