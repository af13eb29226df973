"""Labels, rejection and sets from given probabilities; and of a trained model with a hierarchy."""

import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, TINY, synthetic

import hrca
from hrca._records import is_rejected
from hrca.annotation import _labels
from hrca.annotation._labels import assemble_result, most_likely_labels
from hrca.annotation._options import LabelSpace, PredictOptions
from hrca.prediction._probabilities import CellProbabilities
from hrca.uncertainty._conformal import conformal_scores

FLAT = LabelSpace(["B", "CD4", "CD8"], {}, "Unknown")
NESTED = LabelSpace(["B", "CD4", "CD8"], {"CD4": "T", "CD8": "T"}, "Unknown")
# a confident cell, one that is a T cell but of which kind is not clear, an undecided one, and one without counts
PROBABILITIES = np.array([[0.9, 0.06, 0.04], [0.1, 0.5, 0.4], [0.35, 0.33, 0.32], [0.2, 0.3, 0.5]], dtype=np.float32)
CELLS = CellProbabilities(np.log(PROBABILITIES), np.array([50.0, 50.0, 50.0, 0.0]), np.zeros((2, 3)))
NAMES = pd.Index(["w", "x", "y", "z"])


def test_the_most_probable_label_is_the_label():
    labels, confidence, probabilities = most_likely_labels(FLAT, CELLS)
    assert list(labels) == ["B", "CD4", "B", "Unknown"]
    assert list(labels.categories) == ["B", "CD4", "CD8", "Unknown"]
    np.testing.assert_allclose(confidence, [0.9, 0.5, 0.35, 0], rtol=1e-6)
    assert confidence.dtype == np.float32
    np.testing.assert_allclose(probabilities, np.vstack([PROBABILITIES[:3], np.zeros(3)]), rtol=1e-6)


def test_a_level_sums_the_probabilities_below_it():
    labels, confidence, probabilities = most_likely_labels(NESTED, CELLS, PredictOptions(level=0))
    assert list(labels) == ["B", "T", "T", "Unknown"]
    np.testing.assert_allclose(confidence, [0.9, 0.9, 0.65, 0], rtol=1e-6)
    assert list(probabilities.columns) == ["B", "T"]


def test_an_improbable_label_is_replaced_by_an_ancestor_or_by_none():
    labels, confidence, _ = most_likely_labels(NESTED, CELLS, PredictOptions(min_confidence=0.6))
    assert list(labels) == ["B", "T", "T", "Unknown"]
    assert list(labels.categories) == ["B", "CD4", "CD8", "T", "Unknown"]
    labels, confidence, _ = most_likely_labels(NESTED, CELLS, PredictOptions(min_confidence=0.8))
    assert list(labels) == ["B", "T", "Unknown", "Unknown"]
    np.testing.assert_allclose(confidence, [0.9, 0.9, 0.65, 0], rtol=1e-6)


def assemble(options: PredictOptions, novelty: np.ndarray | None = None, scores: dict | None = None):
    return assemble_result(FLAT, CELLS, NAMES, options, novelty=novelty, conformal_scores=scores)


def test_novel_cells_get_the_unlabelled_category_and_keep_their_confidence():
    novelty = np.array([0.97, 0.2, 0.1, np.nan], dtype=np.float32)
    result = assemble(PredictOptions(novelty_fpr=0.04), novelty)
    assert list(result.labels) == ["Unknown", "CD4", "B", "Unknown"]
    assert result.confidence[0] == pytest.approx(0.9)
    np.testing.assert_array_equal(result.novelty, novelty)
    assert list(result.probabilities.index) == list(NAMES)
    few = assemble(PredictOptions(novelty_fpr=0.1), novelty)
    kept = assemble(PredictOptions(novelty_fpr=0.02), novelty)
    assert list(few.labels) == list(result.labels)
    assert list(kept.labels) == ["B", "CD4", "B", "Unknown"]


def test_sets_are_chosen_only_with_a_coverage():
    rng = np.random.default_rng(0)
    held_out = rng.dirichlet(np.ones(3), 200)
    codes = np.array([rng.choice(3, p=row) for row in held_out])
    scores = conformal_scores(held_out, np.full(200, 50.0), codes, np.arange(200))
    assert assemble(PredictOptions(), scores=scores).sets is None
    sets = assemble(PredictOptions(coverage=0.9), scores=scores).sets
    assert list(sets.index) == list(NAMES)
    assert list(sets.columns) == FLAT.labels
    assert sets.loc["z"].all(), "a cell without counts has all labels"
    assert not sets.loc["w", "CD8"]


@pytest.fixture(scope="module")
def model():
    adata = synthetic(300)
    hrca.HRCA.setup_anndata(
        adata, labels_key="cell_type", labels_hierarchy={"type 0": "left/side", "type 1": "left/side"}
    )
    model = hrca.HRCA(adata, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    return model


def test_predict_answers_of_every_level(model):
    query = synthetic(60, seed=5)
    fine = np.asarray(model.predict(query))
    leaves = query.obsm["hrca_probabilities"]
    coarse = model.predict(query, level=0, key_added="coarse")
    assert list(query.obsm["coarse_probabilities"].columns) == ["left|side", "type 2"]
    np.testing.assert_allclose(
        query.obsm["coarse_probabilities"]["left|side"], leaves["type 0"] + leaves["type 1"], rtol=1e-5
    )
    assert query.uns["coarse"]["level"] == 0
    assert {(c, f) for c, f in zip(coarse, fine, strict=True)} <= {
        ("left/side", "type 0"),
        ("left/side", "type 1"),
        ("type 2", "type 2"),
    }
    confident = np.asarray(model.predict(query, min_confidence=0.9, key_added="confident"))
    confidence = query.obs["confident_confidence"]
    assert (confidence[confident != "Unknown"] >= 0.9 - 1e-5).all()
    assert (confidence[confident == "Unknown"] < 0.9).all()
    kept = leaves.max(axis=1).to_numpy() >= 0.9
    np.testing.assert_array_equal(confident[kept], fine[kept])


def test_the_hierarchy_is_saved_with_the_model(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = hrca.HRCA.load(tmp_path / "model")
    assert loaded.labels_hierarchy == {"type 0": "left/side", "type 1": "left/side"}
    query = synthetic(10, seed=5)
    assert list(loaded.predict(query, level=0)) == list(model.predict(query, level=0))
    again = hrca.HRCA.load(tmp_path / "model", adata=synthetic(300))
    assert again.labels_hierarchy == loaded.labels_hierarchy


def test_evaluate_has_the_hierarchical_f1(model):
    scores = model.evaluate(synthetic(60, seed=5), "cell_type")
    assert scores["accuracy"] <= scores["hierarchical_f1"] <= 1


def test_level_needs_a_hierarchy(tiny_model, model):
    with pytest.raises(ValueError, match="needs a hierarchy of the labels, got 0 and a model without"):
        tiny_model.predict(synthetic(5), level=0)
    for level in (-1, 2, 1.0, "left/side"):
        with pytest.raises(ValueError, match=f"whole number from 0, the coarsest, to 1, .* got {level!r}"):
            model.predict(synthetic(5), level=level)
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        model.predict(synthetic(5), min_confidence=2)


@pytest.mark.parametrize("options", [PredictOptions(), PredictOptions(min_confidence=0.6)])
def test_labels_do_not_depend_on_the_blocks_of_cells(options, monkeypatch):
    space = LabelSpace(["a", "b", "c"], {"a": "ab", "b": "ab"}, "Unknown")
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 50).astype(np.float32)
    cells = CellProbabilities(np.log(probabilities), np.ones(50), np.zeros((2, 3)))
    whole = most_likely_labels(space, cells, options)
    monkeypatch.setattr(_labels, "BLOCK_CELLS", 7)
    parts = most_likely_labels(space, cells, options)
    assert list(parts[0]) == list(whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])


def test_a_cell_is_rejected_by_its_novelty_or_by_its_probability():
    novelty = np.array([0.95, 0.94, 0.94, np.nan, 0.1])
    probability = np.array([0.0, 0.5, 0.49, np.nan, 0.9])
    assert is_rejected(novelty, probability, 0.05).tolist() == [True, True, False, False, True]
    assert is_rejected(novelty, None, 0.05).tolist() == [True, False, False, False, False]
