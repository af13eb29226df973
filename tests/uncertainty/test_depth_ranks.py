"""Ranks among reference cells of similar depth, against a written-out loop."""

import numpy as np
import pytest

from hrca.uncertainty._depth_ranks import DepthRanks


def cells(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Depths, and scores that grow with a power of the depth."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(2, 7, n)).round()
    return depth, depth**0.7 * np.exp(rng.normal(0, 0.3, n))


@pytest.mark.parametrize("n", [1, 3, 40, 1000])
def test_a_rank_is_the_fraction_of_the_nearest_reference_cells_with_lower_scores(n):
    reference_depth, reference_scores = cells(n, 0)
    depth, scores = cells(30, 1)
    slope = np.polyfit(np.log(reference_depth), np.log(reference_scores), 1)[0] if n > 1 else 0.0
    order = np.argsort(reference_depth, kind="stable")
    n_nearest = max(1, n // 4)
    ranks = DepthRanks.fit(reference_depth, reference_scores).rank(depth, scores)
    for cell in range(30):
        # the window whose middle is the position of the cell
        below, up_to = (reference_depth < depth[cell]).sum(), (reference_depth <= depth[cell]).sum()
        start = min(max((below + up_to) // 2 - n_nearest // 2, 0), n - n_nearest)
        window = order[start : start + n_nearest]
        residuals = np.log(reference_scores[window]) - slope * np.log(reference_depth[window])
        residual = np.log(scores[cell]) - slope * np.log(depth[cell])
        assert ranks[cell] == pytest.approx((residuals < residual).sum() / (n_nearest + 1), abs=2 / n_nearest * 1e-6)


def test_ranks_of_cells_like_the_reference_are_uniform_at_any_depth():
    reference, (depth, scores) = DepthRanks.fit(*cells(4000, 0)), cells(4000, 1)
    ranks = reference.rank(depth, scores)
    for part in (depth < 50, depth > 500):
        np.testing.assert_allclose(np.quantile(ranks[part], [0.1, 0.5, 0.95]), [0.1, 0.5, 0.95], atol=0.06)


def test_a_score_of_zero_has_the_lowest_rank():
    depth, scores = cells(100, 0)
    assert DepthRanks.fit(depth, scores).rank(np.array([50.0]), np.array([0.0])) == 0


def test_reference_cells_of_one_depth_have_no_slope():
    reference = DepthRanks.fit(np.full(40, 50.0), np.arange(1.0, 41))
    assert reference.slope == pytest.approx(0)
    np.testing.assert_allclose(reference.rank(np.full(2, 50.0), np.array([0.5, 100])), [0, 10 / 11])
