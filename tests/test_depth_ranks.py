"""Ranks among known cells of about the same depth, against a written-out loop."""

import numpy as np
import pytest

from hrca.uncertainty._depth_ranks import DepthRanks


def cells(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that grow with the depth, by a power of it."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(2, 7, n)).round()
    return depth, depth**0.7 * np.exp(rng.normal(0, 0.3, n))


@pytest.mark.parametrize("n", [1, 3, 40, 1000])
def test_a_rank_is_the_share_of_the_nearest_known_cells_with_less(n):
    known_depth, known_scores = cells(n, 0)
    depth, scores = cells(30, 1)
    slope = np.polyfit(np.log(known_depth), np.log(known_scores), 1)[0] if n > 1 else 0.0
    order = np.argsort(known_depth, kind="stable")
    n_nearest = max(1, n // 4)
    found = DepthRanks.of(known_depth, known_scores).rank(depth, scores)
    for cell in range(30):
        # the window whose middle is where the cell would stand
        below, upto = (known_depth < depth[cell]).sum(), (known_depth <= depth[cell]).sum()
        start = min(max((below + upto) // 2 - n_nearest // 2, 0), n - n_nearest)
        window = order[start : start + n_nearest]
        usual = np.log(known_scores[window]) - slope * np.log(known_depth[window])
        own = np.log(scores[cell]) - slope * np.log(depth[cell])
        assert found[cell] == pytest.approx((usual < own).sum() / (n_nearest + 1), abs=2 / n_nearest * 1e-6)


def test_cells_like_the_known_have_any_rank_as_often_at_any_depth():
    known, (depth, scores) = DepthRanks.of(*cells(4000, 0)), cells(4000, 1)
    ranks = known.rank(depth, scores)
    for part in (depth < 50, depth > 500):
        np.testing.assert_allclose(np.quantile(ranks[part], [0.1, 0.5, 0.95]), [0.1, 0.5, 0.95], atol=0.06)


def test_a_score_of_nothing_is_the_lowest():
    depth, scores = cells(100, 0)
    assert DepthRanks.of(depth, scores).rank(np.array([50.0]), np.array([0.0])) == 0
