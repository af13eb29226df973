"""How high a score is among those of known cells of about the same depth."""

from dataclasses import dataclass

import numpy as np

# A cell is compared with this share of the known cells, those nearest in depth. Not tuned.
NEAREST_FRACTION = 0.25

# A score below this, such as the deviance of a cell of one count, is as good as none when its log is taken.
MIN_SCORE = 1e-6


@dataclass(frozen=True)
class DepthRanks:
    """Scores of known cells, less what is usual at their depth: a straight line between the logs of both.

    Attributes
    ----------
    depth
        Counts of the known cells, rising, shape (n_known,).
    surprise
        Log of the score less the line, in the same order.
    slope
        Of the line.
    """

    depth: np.ndarray
    surprise: np.ndarray
    slope: float

    @classmethod
    def of(cls, depth: np.ndarray, scores: np.ndarray) -> "DepthRanks":
        """Learn what is usual from cells of this depth, above 0, and these scores, both of shape (n_known,)."""
        order = np.argsort(depth, kind="stable")
        depth, log_depth, log_scores = depth[order], np.log(depth[order]), _log(scores[order])
        slope = np.cov(log_depth, log_scores, ddof=0)[0, 1] / max(log_depth.var(), 1e-12)
        return cls(depth, log_scores - slope * log_depth, slope)

    def rank(self, depth: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the share of the known cells nearest in depth whose score is lower, beyond what is usual.

        Parameters
        ----------
        depth
            Counts of the cells, above 0, shape (n_obs,).
        scores
            Their scores, shape (n_obs,).

        Returns
        -------
        In [0, 1), shape (n_obs,).
        """
        n_nearest = max(1, int(NEAREST_FRACTION * len(self.depth)))
        windows = np.lib.stride_tricks.sliding_window_view(self.surprise, n_nearest)
        ends = (np.searchsorted(self.depth, depth, side=side) for side in ("left", "right"))
        start = (sum(ends) // 2 - n_nearest // 2).clip(0, len(self.depth) - n_nearest)
        own = _log(scores) - self.slope * np.log(depth)
        return np.array([(windows[i] < x).sum() for i, x in zip(start, own, strict=True)]) / (n_nearest + 1)


def _log(scores: np.ndarray) -> np.ndarray:
    return np.log(scores.clip(MIN_SCORE))
