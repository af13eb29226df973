"""The numbers of a card against scikit-learn and plain loops, and pairs of labels against sums over genes."""

import copy

import numpy as np
import pandas as pd
import pytest
from conftest import synthetic
from held_out_cells import LABELS, N_CELLS, N_DEPTHS, held_out_cells
from sklearn.metrics import accuracy_score, classification_report, f1_score, recall_score

import hrca
from hrca.annotation._options import LabelSpace
from hrca.metrics import depth_bins
from hrca.model._card_facts import card_facts, held_out_tables
from hrca.models import make_card


@pytest.fixture(scope="module")
def held_out():
    return held_out_cells()


@pytest.fixture(scope="module")
def tables(held_out):
    return held_out_tables(held_out, LabelSpace(LABELS, {}, "Unknown"))


def expected_calibration_error(confidence, is_correct, n_bins=15):
    """The definition, by a loop over the bins."""
    error = 0.0
    for i in range(n_bins):
        in_bin = (confidence >= i / n_bins) & ((confidence < (i + 1) / n_bins) | (i == n_bins - 1))
        if in_bin.any():
            error += in_bin.mean() * abs(is_correct[in_bin].mean() - confidence[in_bin].mean())
    return error


def test_scores_are_those_of_scikit_learn_at_the_cells_own_depths(held_out, tables):
    own = held_out.subset(np.arange(N_CELLS))
    predicted, labels = own.probabilities.argmax(axis=1), own.codes
    assert tables.overall["n_obs"] == N_CELLS
    assert tables.overall["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert tables.overall["balanced_accuracy"] == pytest.approx(
        recall_score(labels, predicted, labels=[0, 1, 3], average="macro")
    )
    assert tables.overall["macro_f1"] == pytest.approx(f1_score(labels, predicted, labels=[0, 1, 3], average="macro"))
    confidence = own.probabilities.max(axis=1).astype(float)
    expected = expected_calibration_error(confidence, predicted == labels)
    assert tables.overall["calibration_error"] == pytest.approx(expected)


def test_scores_by_label_are_those_of_scikit_learn(held_out, tables):
    own = held_out.subset(np.arange(N_CELLS))
    predicted = own.probabilities.argmax(axis=1)
    report = classification_report(own.codes, predicted, labels=range(4), output_dict=True, zero_division=np.nan)
    assert list(tables.by_label.index) == LABELS
    for code, label in enumerate(LABELS):
        row, expected = tables.by_label.loc[label], report[str(code)]
        assert row["n_held_out"] == expected["support"]
        np.testing.assert_allclose(
            row[["precision", "recall", "f1"]].astype(float), [expected[x] for x in ("precision", "recall", "f1-score")]
        )
        confidence = own.probabilities.max(axis=1).astype(float)[predicted == code]
        assert row["confidence"] == pytest.approx(confidence.mean())
        error = expected_calibration_error(confidence, (own.codes == code)[predicted == code])
        assert row["calibration_error"] == pytest.approx(error)


def test_scores_by_depth_are_those_of_each_bin(held_out, tables):
    predicted, bins = held_out.probabilities.argmax(axis=1), np.asarray(depth_bins(held_out.depth))
    assert tables.by_depth["n_obs"].sum() == N_CELLS * N_DEPTHS
    for name, row in tables.by_depth.iterrows():
        chosen = bins == name
        labels, found = held_out.codes[chosen], predicted[chosen]
        assert row["n_obs"] == chosen.sum()
        assert row["accuracy"] == pytest.approx(accuracy_score(labels, found))
        assert row["macro_f1"] == pytest.approx(f1_score(labels, found, labels=np.unique(labels), average="macro"))
        confidence = held_out.probabilities[chosen].max(axis=1).astype(float)
        assert row["calibration_error"] == pytest.approx(expected_calibration_error(confidence, labels == found))
        for code, label in enumerate(LABELS):
            if not (labels == code).any():
                assert (label, name) not in tables.by_label_and_depth.index
                continue
            cell = tables.by_label_and_depth.loc[(label, name)]
            assert cell["n_obs"] == (labels == code).sum()
            assert cell["accuracy"] == pytest.approx((found == code)[labels == code].mean())
            assert cell["confidence"] == pytest.approx(confidence[labels == code].mean())


def test_confusions_are_fractions_of_the_label(held_out, tables):
    predicted = held_out.probabilities.argmax(axis=1)
    table = pd.crosstab(held_out.codes, predicted, normalize="index")
    expected = {
        (LABELS[i], LABELS[j]): table.loc[i, j]
        for i in table.index
        for j in table.columns
        if i != j and table.loc[i, j] >= 0.01
    }
    found = {(row.label, row.predicted): row.fraction for row in tables.confusions.itertuples()}
    assert found == pytest.approx(expected)
    assert tables.confusions["fraction"].is_monotonic_decreasing


def with_profiles(model, profiles):
    """A copy of the model with these profiles of its labels."""
    model = copy.copy(model)
    model.module = copy.deepcopy(model.module)
    log_profiles = model.module.count_likelihood.log_profiles
    log_profiles.copy_(log_profiles.new_tensor(np.log(profiles)))
    return model


def test_pairs_that_a_panel_does_not_tell_apart_are_named(tiny_model):
    profiles = np.full((3, 60), 1.0)
    profiles[1, 50:] = 3  # differs from the first label by the last genes alone
    profiles[2, :20] = 9
    profiles /= profiles.sum(axis=1, keepdims=True)
    model = with_profiles(tiny_model, profiles)
    everywhere = card_facts(model, {}).close_pairs
    assert (everywhere.n_pairs, everywhere.n_genes, everywhere.depth) == (0, 60, 100)
    row = everywhere.pairs.iloc[0]
    divergence = ((profiles[0] - profiles[1]) * np.log(profiles[0] / profiles[1])).sum() / 2
    assert (row["label"], row["other_label"], row["remaining"]) == ("type 0", "type 1", pytest.approx(1))
    assert row["counts"] == pytest.approx(1 / divergence, rel=1e-5)
    panel = [name.upper() for name in tiny_model.gene_names[:40]]
    on_panel = card_facts(model, {}, panel).close_pairs
    assert (on_panel.n_pairs, on_panel.n_genes) == (1, 40)
    assert list(on_panel.pairs.iloc[0][["label", "other_label"]]) == ["type 0", "type 1"]
    assert on_panel.pairs.iloc[0]["counts"] > 1e6
    text = make_card(model, panel=panel).text
    assert "On 40 genes, 1 pair of labels need" in text
    with pytest.raises(ValueError, match="must share genes"):
        make_card(model, panel=["none", "of", "them"])
    with pytest.raises(TypeError, match="must be a sequence"):
        make_card(model, panel="gene1")


def test_the_genes_of_a_matched_query_are_the_panel(tiny_model):
    model = with_profiles(tiny_model, np.full((3, 60), 1 / 60))
    model.module.gene_mask[10:] = 0
    pairs = card_facts(model, {}).close_pairs
    assert (pairs.n_genes, pairs.n_pairs) == (10, 3)
    assert np.isinf(pairs.pairs["counts"]).all()
    assert "any number is too few" in make_card(model).text


def test_labels_are_counted_as_the_reference_has_them(tiny_model, reference):
    facts = make_card(tiny_model).facts
    assert facts["labels"] == reference.obs["cell_type"].value_counts().to_dict()
    assert (facts["n_obs"], facts["n_train"], facts["n_genes"]) == (100, len(tiny_model.split_.train), 60)


def test_the_networks_alone_have_a_card(tiny_networks):
    card = make_card(tiny_networks)
    assert "Not computed: the model has no count likelihood" in card.text
    assert card.facts["scores"] is not None


def test_a_model_before_its_training_has_no_card(reference):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, size="laptop")
    with pytest.raises(ValueError, match=r"is not trained on labels. `model.train\(\)`"):
        make_card(model)


def test_a_model_of_no_known_reference_says_so(tiny_model):
    model = copy.copy(tiny_model)
    model.split_ = model.label_counts_ = model.conformal_scores_ = model.novelty_reference_ = None
    card = make_card(model)
    assert (card.facts["n_obs"], card.facts["n_stored_cells"]) == (None, 0)
    assert card.facts["labels"] == dict.fromkeys(model.labels)
    assert "| cells | not known |" in card.text


def test_another_training_counts_anew(tmp_path):
    from conftest import QUIET, TINY

    reference = synthetic(60)
    reference.obs["cell_type"] = reference.obs["cell_type"].where(np.arange(60) >= 10, "Unknown")
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    assert model.label_counts_ is None
    model.train(pretrain_epochs=1, max_epochs=1, batch_size=32, **QUIET)
    expected = reference.obs["cell_type"].value_counts()
    assert model.label_counts_ == [expected[label] for label in model.labels]
    model.pretrain(1, batch_size=32, **QUIET)
    assert model.label_counts_ is None
