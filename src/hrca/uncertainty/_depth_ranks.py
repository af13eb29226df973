"""Ranks of scores among reference cells of similar depth."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Each cell is compared with this fraction of the reference cells, those nearest in depth. Not tuned.
NEAREST_FRACTION = 0.25

# Number of cells of one window from which on sorting the window is faster than comparing each cell with all of it.
MIN_SORTED_CELLS = 8

# Lower bound of a score before its log is taken: the deviance of a cell with one count may be 0.
MIN_SCORE = 1e-6


@dataclass(frozen=True)
class DepthRanks:
    r"""Scores of reference cells, corrected for depth.

    Attributes
    ----------
    depth
        Counts of the reference cells, ascending, shape (n_reference,).
    residual
        Log score of each reference cell, less `slope` times its log depth, shape (n_reference,).
    slope
        Slope of the least-squares line of log score on log depth.

    Notes
    -----
    The residual of a cell with score :math:`s_i` and depth :math:`n_i` is

    .. math:: r_i = \log s_i - b \log n_i,

    where :math:`b` is the slope among the reference cells. The intercept is left out: it does not change a rank.
    """

    depth: np.ndarray
    residual: np.ndarray
    slope: float

    @classmethod
    def fit(cls, depth: np.ndarray, scores: np.ndarray) -> "DepthRanks":
        """Fit the line of log score on log depth to reference cells.

        Parameters
        ----------
        depth
            Counts of the reference cells, above 0, shape (n_reference,).
        scores
            Their scores, at least 0, shape (n_reference,).

        Returns
        -------
        The residuals of the reference cells, sorted by depth.
        """
        order = np.argsort(depth, kind="stable")
        depth, log_depth, log_scores = depth[order], np.log(depth[order]), _log_scores(scores[order])
        # reference cells of one depth have no slope: the lower bound makes it about 0
        slope = np.cov(log_depth, log_scores, ddof=0)[0, 1] / max(log_depth.var(), 1e-12)
        return cls(depth, log_scores - slope * log_depth, slope)

    def rank(self, depth: np.ndarray, scores: np.ndarray) -> np.ndarray:
        r"""Rank cells among the reference cells nearest in depth.

        Parameters
        ----------
        depth
            Counts of the cells, above 0, shape (n_obs,).
        scores
            Their scores, at least 0, shape (n_obs,).

        Returns
        -------
        Rank of each cell, in [0, 1), shape (n_obs,).

        Notes
        -----
        With :math:`N(i)` the :math:`k` reference cells nearest in depth, a quarter of all, the rank of a cell is

        .. math:: \rho_i = \frac{\#\{j \in N(i) : r_j < r_i\}}{k + 1}.
        """
        n_nearest = max(1, int(NEAREST_FRACTION * len(self.depth)))
        # the middle of the reference cells of the same depth
        first, last = (np.searchsorted(self.depth, depth, side=side) for side in ("left", "right"))
        start = ((first + last) // 2 - n_nearest // 2).clip(0, len(self.depth) - n_nearest)
        residual = _log_scores(scores) - self.slope * np.log(depth)
        return _counts_below(self.residual, start, n_nearest, residual) / (n_nearest + 1)


def _counts_below(values: np.ndarray, start: np.ndarray, n: int, limits: np.ndarray) -> np.ndarray:
    """Count for each limit the values below it in a window of `n` values, shape (n_limits,).

    Cells of one window are counted together: in the sorted window, the count is a position.
    """
    counts = np.empty(len(start), dtype=np.int64)
    order = np.argsort(start, kind="stable")
    bounds = np.flatnonzero(np.diff(start[order], prepend=-1, append=-1))
    for first, last in pairwise(bounds):
        cells = order[first:last]
        window = values[start[cells[0]] : start[cells[0]] + n]
        if len(cells) < MIN_SORTED_CELLS:
            counts[cells] = (window < limits[cells, None]).sum(axis=1)
        else:
            counts[cells] = np.searchsorted(np.sort(window), limits[cells])
    return counts


def _log_scores(scores: np.ndarray) -> np.ndarray:
    return np.log(scores.clip(MIN_SCORE))
