"""Numbers of the cells of parts add up to those of the query."""

from dataclasses import fields, replace

import numpy as np

from hrca.prediction._open_set import OpenSetScores, QueryFit
from hrca.prediction._probabilities import CellProbabilities
from hrca.prediction._query_clusters import QueryClusters
from hrca.prediction._summary import PredictionSummary

N_OBS, N_LABELS, N_CLUSTERS = 90, 3, 4


def cells(rows: slice) -> CellProbabilities:
    rng = np.random.default_rng(0)
    log_probabilities = np.log(rng.dirichlet(np.ones(N_LABELS), N_OBS)).astype(np.float32)
    depth = rng.integers(0, 4, N_OBS).astype(float)
    scores = OpenSetScores(rng.random(N_OBS), rng.integers(0, N_CLUSTERS, N_OBS), depth, rng.random(N_OBS))
    clusters = QueryClusters(np.zeros((1, N_OBS), dtype=int), np.full(N_CLUSTERS, 10), np.ones((N_CLUSTERS, 5)))
    fit = QueryFit(np.ones(5), np.ones((N_LABELS, 5)), clusters, np.zeros((N_CLUSTERS, 3)), np.zeros(N_CLUSTERS))
    codes = rng.integers(0, N_LABELS, (2, N_OBS))[:, rows]
    has_counts = depth[rows] > 0
    fractions = [np.bincount(branch[has_counts], minlength=N_LABELS) / has_counts.sum() for branch in codes]
    return CellProbabilities(
        log_probabilities[rows], depth[rows], np.stack(fractions), query_fit=fit, open_set_scores=scores.subset(rows)
    )


def test_parts_add_up():
    whole = PredictionSummary.of(cells(slice(None)))
    parts = [PredictionSummary.of(cells(rows)) for rows in (slice(0, 7), slice(7, 50), slice(50, None))]
    total = PredictionSummary.total(parts)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(total, field.name), getattr(whole, field.name))
    assert total.n_cells == (cells(slice(None)).depth > 0).sum() < N_OBS
    assert total.novel_fraction == cells(slice(None)).novel_fraction > 0


def test_depths_of_a_sample_are_kept():
    is_sampled = np.arange(N_OBS) < 20
    depth = cells(slice(None)).depth[:20]
    assert list(PredictionSummary.of(cells(slice(None)), is_sampled).depths) == list(depth[depth > 0])


def test_cells_without_clusters_or_counts_are_none():
    empty = replace(cells(slice(None)), depth=np.zeros(N_OBS), open_set_scores=None)
    summary = PredictionSummary.of(empty)
    assert (summary.n_cells, summary.n_counts, summary.novel_fraction) == (0, 0, 0)
    assert summary.n_novel.shape == (0, N_LABELS)
