"""Warnings about predictions, from probabilities that are made up, and of a trained model."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import QUIET, TINY, synthetic
from scipy import sparse
from simulated import random_profiles

import hrca
from hrca.annotation._novel_groups import novel_groups
from hrca.annotation._options import LabelSpace
from hrca.annotation._prediction_warnings import (
    _indistinct_labels,
    rejection_warning,
)
from hrca.annotation._prediction_warnings import (
    prediction_warnings as warnings_of_summary,
)
from hrca.prediction._open_set import OpenSetScores, QueryFit
from hrca.prediction._probabilities import CellProbabilities
from hrca.prediction._query_clusters import QueryClusters
from hrca.prediction._summary import PredictionSummary
from hrca.reporting._cells import AnnotatedCells
from hrca.reporting._novel_groups import novel_groups as novel_groups_of_report

LABELS = LabelSpace(["B", "T", "NK"], {}, "Unknown")
GENES = pd.Index([f"gene{i}" for i in range(12)])
PROFILES = np.vstack([np.eye(3, 12) * 30, np.zeros((0, 12))]) + 1
PROFILES = PROFILES / PROFILES.sum(axis=1, keepdims=True)


def cells_of(codes: np.ndarray, *, fractions: np.ndarray | None = None, fit: QueryFit | None = None, fits=None):
    """Confident cells of given labels."""
    log_probabilities = np.log(np.eye(3)[codes] * 0.97 + 0.01).astype(np.float32)
    own = np.bincount(codes, minlength=3) / len(codes)
    fractions = np.stack([own, own]) if fractions is None else fractions
    return CellProbabilities(log_probabilities, np.full(len(codes), 50.0), fractions, 1.0, fit, fits)


def prediction_warnings(cells: CellProbabilities, *model) -> list[str]:
    return warnings_of_summary(PredictionSummary.of(cells), cells.query_fit, *model)


def query_fit(sums: np.ndarray, novel: np.ndarray, factors: np.ndarray | None = None) -> QueryFit:
    clusters = QueryClusters(np.zeros(0, dtype=int), np.full(len(sums), 100), sums)
    factors = np.ones(12) if factors is None else factors
    return QueryFit(
        factors=factors,
        profiles=PROFILES * (factors > 0),
        clusters=clusters,
        misfits=None,
        novel_probabilities=novel,
    )


def fits_of(clusters: np.ndarray, novel: np.ndarray) -> OpenSetScores:
    return OpenSetScores(novel, clusters, np.full(len(novel), 50.0), np.ones(len(novel)))


def cluster_with(*genes: int) -> np.ndarray:
    return 100.0 + 3000 * np.isin(np.arange(12), genes)


def test_nothing_is_said_where_all_is_well():
    codes = np.arange(100) % 3
    fit = query_fit(np.stack([cluster_with(0), cluster_with(1), cluster_with(2)]), np.zeros(3))
    cells = cells_of(codes, fit=fit, fits=fits_of(codes, np.zeros(100)))
    assert prediction_warnings(cells, LABELS, GENES, np.log(PROFILES)) == []
    assert prediction_warnings(cells_of(codes), LABELS, GENES, None) == []


def test_novel_cells_are_counted_and_described_by_group():
    # 60 cells of the labels, 30 and 10 of two other types, the first of two clusters
    clusters = np.repeat([0, 1, 2, 3], [60, 20, 10, 10])
    novel = np.where(clusters > 0, 0.9, 0.02)
    fit = query_fit(np.stack([cluster_with(0), cluster_with(5, 6), cluster_with(5, 6), cluster_with(9)]), np.zeros(4))
    cells = cells_of(np.zeros(100, dtype=int), fit=fit, fits=fits_of(clusters, novel))
    (sentence,) = prediction_warnings(cells, LABELS, GENES, np.log(PROFILES))
    assert sentence.startswith(
        "40 of 100 cells (40%) are probably of types that the reference lacks: 30 (most common label 'B', genes "
    )
    assert sentence.endswith(
        "`predict(novelty_fpr=0.05)`, in the shell `hrca annotate --novelty-fpr 0.05`, labels such cells 'Unknown'."
    )
    arguments = (PredictionSummary.of(cells), fit, LABELS, GENES, np.log(PROFILES))
    (rejected,) = warnings_of_summary(*arguments, rejects_novel=True)
    assert rejected.startswith("40 of 100 cells (40%)") and rejected.endswith("They are labelled 'Unknown'.")
    groups = novel_groups(fit, PredictionSummary.of(cells).n_novel, GENES)
    assert [group.n_obs for group in groups] == [30, 10]
    assert set(groups[0].genes[:2]) == {"gene5", "gene6"}
    assert groups[1].genes[0] == "gene9"


def test_the_genes_of_a_group_distinguish_it_from_the_other_groups():
    # both express genes 5 and 6, which no other cell does, but only the second expresses genes 7 and 8
    sums = np.stack([cluster_with(0), cluster_with(5, 6), cluster_with(5, 6, 7, 8)])
    sums[1, 9:] += 9000
    groups = novel_groups(query_fit(sums, np.zeros(3)), np.array([[0, 0, 0], [0, 20, 0], [0, 10, 0]]), GENES)
    assert [group.n_obs for group in groups] == [20, 10]
    assert set(groups[0].genes) == {"gene9", "gene10", "gene11"}
    assert set(groups[1].genes[:2]) == {"gene7", "gene8"}


def test_groups_that_no_gene_tells_apart_are_one(monkeypatch):
    monkeypatch.setattr("hrca.annotation._novel_groups.group_clusters", lambda *_: [np.array([i]) for i in range(3)])
    sums = np.stack([cluster_with(0), cluster_with(5, 6), cluster_with(9), 1.1 * cluster_with(5, 6)])
    n_novel = np.array([[0, 0, 0], [0, 20, 0], [0, 4, 0], [1, 9, 0]])
    groups = novel_groups(query_fit(sums, np.zeros(4)), n_novel, GENES)
    assert [(group.n_obs, group.label) for group in groups] == [(30, 1), (4, 1)]
    assert set(groups[0].genes[:2]) == {"gene5", "gene6"} and groups[1].genes == ["gene9"]


def test_few_novel_cells_cause_no_warning():
    novel = np.where(np.arange(100) < 5, 0.9, 0.0)
    fit = query_fit(np.stack([cluster_with(0)] * 2), np.zeros(2))
    cells = cells_of(np.arange(100) % 3, fit=fit, fits=fits_of(np.zeros(100, dtype=int), novel))
    assert prediction_warnings(cells, LABELS, GENES, np.log(PROFILES)) == []
    novel[5] = 0.9
    assert len(prediction_warnings(cells, LABELS, GENES, np.log(PROFILES))) == 1


def test_genes_that_the_query_lacks_describe_no_group():
    factors = (np.arange(12) != 5).astype(float)
    sums = np.stack([cluster_with(0), cluster_with(5, 6)]) * factors
    fit = query_fit(sums, np.zeros(2), factors)
    (group,) = novel_groups(fit, np.array([[0, 0, 0], [0, 0, 1]]), GENES)
    assert group.genes[0] == "gene6"
    assert "gene5" not in group.genes


def test_large_platform_factors_are_named():
    factors = np.exp(np.tile([-1.6, 1.6], 6))
    cells = cells_of(np.arange(9) % 3, fit=query_fit(np.stack([cluster_with(0)]), np.zeros(1), factors))
    (sentence,) = prediction_warnings(cells, LABELS, GENES, None)
    assert "standard deviation of their logs 1.6" in sentence


@pytest.mark.parametrize(("fraction", "lowest", "warns"), [(0.9, 0.3, True), (0.9, 0.6, False), (0.5, 0.1, False)])
def test_a_dominant_label_is_doubtful_if_a_branch_disagrees(fraction, lowest, warns):
    codes = np.where(np.arange(100) < 100 * fraction, 1, 0)
    branches = np.array([[1 - lowest, lowest, 0], [1 - fraction, fraction, 0]])
    sentences = prediction_warnings(cells_of(codes, fractions=branches), LABELS, GENES, None)
    assert len(sentences) == warns
    if warns:
        assert sentences[0].startswith("'T' is the label of 90% of the cells, but the network or the count likelihood")


@pytest.mark.parametrize("log_factor", [0.0, 0.1])
def test_a_remedy_is_named_only_where_there_is_one(log_factor):
    branches = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    factors = np.exp(np.tile([-log_factor, log_factor], 6))
    fit = query_fit(np.stack([cluster_with(0)]), np.zeros(1), factors)
    (sentence,) = prediction_warnings(
        cells_of(np.zeros(100, dtype=int), fractions=branches, fit=fit), LABELS, GENES, None
    )
    assert ("platform_correction=False" in sentence) == (log_factor > 0)


def test_a_label_of_few_cells_is_not_dominant():
    branches = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert prediction_warnings(cells_of(np.zeros(99, dtype=int), fractions=branches), LABELS, GENES, None) == []
    assert len(prediction_warnings(cells_of(np.zeros(100, dtype=int), fractions=branches), LABELS, GENES, None)) == 1


def test_labels_that_differ_only_in_absent_genes_are_named():
    log_profiles = np.log(random_profiles(1, 12).repeat(3, axis=0))
    log_profiles[1, 3] += 5
    log_profiles[2, 8] += 5
    factors = (np.arange(12) != 3).astype(float)
    cells = cells_of(np.arange(90) % 3, fit=query_fit(np.stack([cluster_with(0)]), np.zeros(1), factors))
    (sentence,) = prediction_warnings(cells, LABELS, GENES, log_profiles)
    assert sentence.startswith(
        "The query's genes hardly tell apart 'B' and 'T': the genes that do are not in the query"
    )
    whole = cells_of(np.arange(90) % 3, fit=query_fit(np.stack([cluster_with(0)]), np.zeros(1)))
    assert prediction_warnings(whole, LABELS, GENES, log_profiles) == []


def test_pairs_among_many_labels_are_found_and_equal_profiles_are_none():
    n_labels = 600
    log_profiles = np.log(np.random.default_rng(0).gamma(0.3, 1, (n_labels, 40)) + 1e-3)
    for one, two in ((0, 599), (255, 256), (300, 301)):
        log_profiles[two] = log_profiles[one]
    log_profiles[[599, 256], 3] += 5
    cells = cells_of(np.zeros(9, dtype=int))
    labels = [str(i) for i in range(n_labels)]
    sentence = _indistinct_labels(PredictionSummary.of(cells), labels, log_profiles, np.arange(40) != 3)
    assert sentence.startswith("The query's genes hardly tell apart '0' and '599', '255' and '256': the genes")


def test_a_query_without_counts_causes_no_warning():
    cells = CellProbabilities(np.zeros((2, 3), dtype=np.float32), np.zeros(2), np.zeros((2, 3)))
    assert prediction_warnings(cells, LABELS, GENES, None) == []


def test_many_rejected_cells_are_warned_of():
    assert "1 of 2 cells (50%) is rejected and labelled" in rejection_warning(1, 2, 0.05, "Unknown")
    assert "25 of 100 cells (25%) are rejected and labelled 'Unknown', where 4%" in rejection_warning(
        25, 100, 0.04, "Unknown"
    )
    assert rejection_warning(25, 100, 0.1, "Unknown") is None


def test_discarded_factors_are_warned_of():
    fit = replace(query_fit(np.stack([cluster_with(0)]), np.zeros(1)), discarded_log_sd=2.34)
    cells = cells_of(np.arange(90) % 3, fit=fit, fits=fits_of(np.zeros(90, dtype=int), np.zeros(90)))
    (sentence,) = prediction_warnings(cells, LABELS, GENES, np.log(PROFILES))
    assert sentence.startswith(
        "No platform factors were used: they would be too large (standard deviation of their logs 2.3)"
    )


def test_all_warnings_of_a_prediction_are_recorded(tiny_model):
    query = synthetic(100, seed=3)[:, :14].copy()
    with pytest.warns(UserWarning) as caught:
        tiny_model.predict(query, novelty_fpr=0.001, open_set=False)
    assert set(query.uns["hrca"]["warnings"]) == {str(warning.message) for warning in caught}
    assert any("has 14 of the model's 60 genes" in sentence for sentence in query.uns["hrca"]["warnings"])


def test_predict_warns_and_records_the_warning(tmp_path):
    reference = synthetic(400, n_labels=5)
    reference = reference[reference.obs["cell_type"] != "type 4"].copy()
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **TINY)
    model.train(10, pretrain_epochs=2, lr=1e-2, **QUIET)
    query = synthetic(900, n_labels=5, seed=5)
    # a query needs 20,000 counts
    query.X = sparse.csr_matrix(np.random.default_rng(0).poisson(3 * query.X.toarray()).astype(np.float32))
    is_novel = (query.obs["cell_type"] == "type 4").to_numpy()
    with pytest.warns(
        UserWarning, match=r"\d+ of 900 cells \(\d+%\) are probably of types that the reference lacks"
    ) as caught:
        model.predict(query, coverage=0.9)
    assert query.uns["hrca"]["open_set"]
    assert list(query.uns["hrca"]["warnings"]) == [str(warning.message) for warning in caught]
    query.write_h5ad(tmp_path / "query.h5ad")
    groups = novel_groups_of_report(AnnotatedCells(ad.read_h5ad(tmp_path / "query.h5ad"), "hrca"))
    # the report has the groups that the warning names
    for group in groups[:3]:
        named = f"{group['n_cells']} (most common label {group['label']!r}, genes {group['genes']})"
        assert named in str(caught[0].message)
    assert sum(group["n_cells"] for group in groups) == (query.obs["hrca_novel_probability"] >= 0.5).sum()
    novel_probability = query.obs["hrca_novel_probability"]
    assert (novel_probability[is_novel] > 0.5).mean() > 0.9
    assert (novel_probability[~is_novel] > 0.5).mean() < 0.05
    assert (query.obs["hrca_confidence"] <= 1 - novel_probability + 1e-6).all()
    assert (query.obs["hrca_set_size"][novel_probability >= 0.5] == 0).all()
    assert (query.obs["hrca_novelty"][~is_novel] >= 0.95).mean() < 0.1
    sums = query.obsm["hrca_probabilities"].sum(axis=1) + novel_probability
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    query.write_h5ad(tmp_path / "query.h5ad")
    with pytest.warns(UserWarning, match="^In sample 'section': "):
        model.predict({"section": query}, key_added=None)
    model.predict(query, open_set=False)
    assert query.obs["hrca_novel_probability"].isna().all()
    assert list(query.uns["hrca"]["warnings"]) == []
