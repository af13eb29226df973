"""Numbers of cells by label, branch and cluster, from which a prediction is judged as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hrca._records import MIN_NOVEL_PROBABILITY

from ._probabilities import CellProbabilities


@dataclass(frozen=True)
class PredictionSummary:
    """Numbers of the cells with counts. The summaries of parts of a query add up to that of the query.

    Attributes
    ----------
    n_by_label
        Number of cells by most probable label, shape (n_labels,).
    n_by_branch
        Number of cells that each branch assigns to each label, shape (n_branches, n_labels).
    n_novel
        Number of novel cells by cluster and most probable label, shape (n_clusters, n_labels); no rows without
        clusters.
    n_counts
        Sum of the depths.
    depths
        Depths of the cells, or of a sample of them, shape (n_depths,).
    """

    n_by_label: np.ndarray
    n_by_branch: np.ndarray
    n_novel: np.ndarray
    n_counts: float
    depths: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of cells with counts."""
        return int(self.n_by_label.sum())

    @property
    def n_known(self) -> np.ndarray:
        """Number of cells with a novel probability below .5 by most probable label, shape (n_labels,)."""
        return self.n_by_label - self.n_novel.sum(axis=0)

    @property
    def novel_fraction(self) -> float:
        """Fraction of the cells that have a novel probability of at least .5."""
        return float(self.n_novel.sum() / self.n_cells) if self.n_cells else 0.0

    @classmethod
    def of(cls, cells: CellProbabilities, sampled: np.ndarray | None = None) -> "PredictionSummary":
        """Summarise cells.

        Parameters
        ----------
        cells
            Probabilities of the cells.
        sampled
            Boolean, the cells whose depths are kept, shape (n_obs,); None: all.
        """
        has_counts, n_labels = cells.has_counts, cells.log_probabilities.shape[1]
        codes = cells.log_probabilities.argmax(axis=1)
        n_novel = np.zeros((0, n_labels), dtype=np.int64)
        if cells.open_set_scores is not None and cells.query_fit is not None and cells.query_fit.clusters is not None:
            n_novel = np.zeros((len(cells.query_fit.clusters.n_cells), n_labels), dtype=np.int64)
            is_novel = has_counts & (cells.novel_probability >= MIN_NOVEL_PROBABILITY)
            np.add.at(n_novel, (cells.open_set_scores.clusters[is_novel], codes[is_novel]), 1)
        return cls(
            n_by_label=np.bincount(codes[has_counts], minlength=n_labels),
            n_by_branch=np.rint(cells.label_fractions * has_counts.sum()).astype(np.int64),
            n_novel=n_novel,
            n_counts=float(cells.depth.sum()),
            depths=cells.depth[has_counts if sampled is None else has_counts & sampled],
        )

    @staticmethod
    def total(parts: "Sequence[PredictionSummary]") -> "PredictionSummary":
        """Add the summaries of the parts of a query, at least one."""
        return PredictionSummary(
            n_by_label=np.sum([part.n_by_label for part in parts], axis=0),
            n_by_branch=np.sum([part.n_by_branch for part in parts], axis=0),
            n_novel=np.sum([part.n_novel for part in parts], axis=0),
            n_counts=sum(part.n_counts for part in parts),
            depths=np.concatenate([part.depths for part in parts]),
        )
