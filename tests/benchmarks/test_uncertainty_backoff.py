"""The benchmark of back-off along a hierarchy."""

import numpy as np
from conftest import QUIET, TINY, synthetic

import hrca
from benchmarks.common.data import drop_empty_cells, thin
from benchmarks.uncertainty import backoff


def test_the_hierarchies_are_those_of_the_data(data_dir):
    for name, parents in backoff.PARENTS.items():
        labels = set(hrca.datasets.local(name, data_dir).obs["cell_type"].astype(str))
        assert set(parents) - set(parents.values()) <= labels


def test_a_threshold_labels_the_number_of_cells_that_back_off_labels(monkeypatch):
    cells, parents = synthetic(200), {"type 0": "low", "type 1": "low"}
    hrca.HRCA.setup_anndata(cells, labels_key="cell_type", labels_hierarchy=parents)
    model = hrca.HRCA(cells, **TINY)
    model.train(1, pretrain_epochs=1, **QUIET)
    query = drop_empty_cells(thin(synthetic(50, seed=1), 0.03, np.random.default_rng(0)))
    score_methods, predictions = backoff.score_methods, []

    def record(true_labels, predicted, tree):
        predictions.append(predicted)
        return score_methods(true_labels, predicted, tree)

    monkeypatch.setattr(backoff, "score_methods", record)
    rows = list(backoff.score(model, query, parents))
    table = model.predict(query, soft=True, key_added=None)
    labels, confidence = model.predict(query, key_added=None), table.max(axis=1).to_numpy()
    n_unlabelled = []
    for row, minimum, predicted in zip(rows, backoff.MIN_CONFIDENCES, predictions, strict=True):
        assert row["min_confidence"] == minimum
        backed_off = model.predict(query, min_confidence=minimum, key_added=None)
        np.testing.assert_array_equal(predicted["backoff"], backed_off)
        np.testing.assert_array_equal(predicted["flat"], labels)
        is_labelled = predicted["threshold"] != "Unknown"
        n_labelled = (predicted["backoff"] != "Unknown").sum()
        assert is_labelled.sum() == n_labelled == round(row["coverage"] * len(labels))
        np.testing.assert_array_equal(predicted["threshold"][is_labelled], labels[is_labelled])
        assert confidence[is_labelled].min() >= confidence[~is_labelled].max(initial=0)
        expected = hrca.metrics.hierarchical_scores(query.obs["cell_type"], predicted["backoff"], parents)
        assert row["backoff_f1"] == expected["hierarchical_f1"]
        n_unlabelled.append((~is_labelled).sum())
    assert 0 < n_unlabelled[-1] < len(labels)
