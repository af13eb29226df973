"""Label probabilities of a query's cells, and the probability of none of the labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from hrca._records import MIN_NOVEL_PROBABILITY
from hrca.data._name_hash import uniform_from_names
from hrca.module._branch_scorer import BranchScorer
from hrca.module._calibration import Calibration
from hrca.module._module import HRCAModule
from hrca.module._sparse_counts import SparseCounts
from hrca.typing import Batches

from ._forward import (
    BranchScores,
    ScoreCompletion,
    double_precision,
    read_cells,
    shared_genes,
    survey_cells,
    used_counts,
)
from ._open_set import OpenSetScores, QueryFit, fit_query
from ._parallel import one_thread, parallel_map
from ._platform_factors import platform_log_sd

# Maximum number of query cells that platform factors and clusters are fitted to. They are in memory, sparse. Not tuned.
MAX_SAMPLED_CELLS = 10_000


@dataclass(frozen=True)
class CellProbabilities:
    """Label probabilities of cells.

    Attributes
    ----------
    log_probabilities
        Log-probabilities among the labels, shape (n_obs, n_labels), float32; not meaningful for a cell without counts.
    depth
        Counts of each cell on the genes that model and query share, shape (n_obs,), clipped to the `max_depth` of a
        fitted count likelihood.
    label_fractions
        Fraction of the cells with counts that each branch assigns to each label, shape (n_branches, n_labels).
    branch_agreement
        Fraction of the cells with counts to which both branches assign the same label; 1 with one branch.
    query_fit
        Platform factors and clusters; None without them.
    open_set_scores
        Deviance and novel probability of the cells; None without `query_fit`.
    """

    log_probabilities: np.ndarray
    depth: np.ndarray
    label_fractions: np.ndarray
    branch_agreement: float = 1.0
    query_fit: QueryFit | None = None
    open_set_scores: OpenSetScores | None = None

    @property
    def has_counts(self) -> np.ndarray:
        """Boolean, True for a cell with counts on the shared genes, shape (n_obs,)."""
        return self.depth > 0

    @property
    def has_clusters(self) -> bool:
        """True if the probability that a cell is of none of the labels was estimated."""
        return self.query_fit is not None and self.query_fit.clusters is not None

    @property
    def novel_probability(self) -> np.ndarray:
        """Probability that a cell is of none of the labels, shape (n_obs,), float32; 0 if it was not estimated."""
        if self.open_set_scores is None:
            return np.zeros(len(self.depth), dtype=np.float32)
        return self.open_set_scores.novel_probability.astype(np.float32)

    @property
    def novel_fraction(self) -> float:
        """Fraction of the cells with counts that have a novel probability of at least .5."""
        is_novel = self.novel_probability[self.has_counts] >= MIN_NOVEL_PROBABILITY
        return float(is_novel.mean()) if len(is_novel) else 0.0

    @property
    def known_probabilities(self) -> np.ndarray:
        """Probabilities given that the cell is of one of the labels, shape (n_obs, n_labels), float32.

        They are zeros for a cell without counts.
        """
        probabilities = np.exp(self.log_probabilities)
        probabilities[~self.has_counts] = 0
        return probabilities

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, shape (n_obs, n_labels), float32; zeros for a cell without counts.

        Those of a cell and `novel_probability` sum to 1.
        """
        probabilities = self.known_probabilities
        # in place: of a large query, the probabilities are most of the memory
        probabilities *= (1 - self.novel_probability)[:, None]
        return probabilities

    @property
    def platform_log_sd(self) -> float:
        """Standard deviation of the log platform factors over the shared genes; 0 if none were fitted."""
        return 0.0 if self.query_fit is None else platform_log_sd(self.query_fit.factors)


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """Settings of the probabilities of a query.

    Attributes
    ----------
    platform_correction
        If True, fit platform factors to the query.
    open_set
        If True, estimate the probability that a cell is of none of the labels.
    calibrated
        If True, calibrate the probabilities.
    """

    platform_correction: bool
    open_set: bool
    calibrated: bool


def predict_probabilities(
    module: HRCAModule,
    batches: Callable[[str], Batches],
    obs_names: Sequence[str],
    present: np.ndarray,
    label_sums: np.ndarray | None,
    settings: PredictionSettings,
) -> CellProbabilities:
    """Predict label probabilities by the classifier and the count likelihood.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    batches
        Returns a new pass over the cells at each call, with a progress bar of this name; see
        :class:`hrca.data._batches.KeptBatches`. There are two passes where the query is fitted.
    obs_names
        Names of the cells, shape (n_obs,). They decide which cells platform factors and clusters are fitted to.
    present
        Boolean or 0 and 1, the genes of the model that the query measures, shape (n_genes,).
    label_sums
        Summed counts of the reference by label and gene, shape (n_labels, n_genes). None: the query is not fitted.
    settings
        Settings of the prediction.

    Returns
    -------
    Probabilities of the cells, in order.
    """
    gene_mask = shared_genes(module, present)
    query_fit = fit_sampled_cells(module, batches, obs_names, gene_mask, label_sums, settings)
    return score_batches(
        module, batches("labels"), len(obs_names), gene_mask, query_fit, calibrated=settings.calibrated
    )


def score_batches(
    module: HRCAModule,
    batches: Batches,
    n_obs: int,
    gene_mask: np.ndarray,
    query_fit: QueryFit | None,
    *,
    calibrated: bool,
) -> CellProbabilities:
    """Compute label probabilities of cells under the fit of their query.

    The result of a cell depends on no other cell but through the fit: the cells may be a part of the query.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    batches
        Rows and counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    n_obs
        Number of cells.
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).
    query_fit
        From :func:`fit_sampled_cells`.
    calibrated
        If True, calibrate the probabilities.

    Returns
    -------
    Probabilities of the cells, in order.
    """
    complete = ScoreCompletion.of(module, gene_mask if query_fit is None else query_fit.factors)
    score_branches, results = BranchScorer(module), _Results.empty(n_obs, module, query_fit, calibrated=calibrated)

    def score(batch: tuple[slice, sparse.csr_array]) -> tuple[slice, BranchScores, OpenSetScores | None]:
        rows, counts = batch
        scores = complete(score_branches(SparseCounts.from_csr(counts)))
        return rows, scores, None if query_fit is None else query_fit.score_cells(used_counts(counts, gene_mask))

    if query_fit is not None:
        query_fit.prepare()
    with parallel_map(score_branches.device.type) as map_batches:
        for rows, scores, open_set_scores in map_batches(score, batches):
            results.add(rows, scores, open_set_scores)
    return results.finish(query_fit)


def fit_sampled_cells(
    module: HRCAModule,
    batches: Callable[[str], Batches],
    obs_names: Sequence[str],
    gene_mask: np.ndarray,
    label_sums: np.ndarray | None,
    settings: PredictionSettings,
) -> QueryFit | None:
    """Fit platform factors and clusters to a sample of the query's cells.

    Parameters
    ----------
    module, batches, obs_names, label_sums, settings
        See :func:`predict_probabilities`; `settings.calibrated` is not used.
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).

    Returns
    -------
    The fit; None if none is asked for, if no sampled cell has counts, or without `label_sums`.
    """
    if not needs_query_fit(module, label_sums, settings):
        return None
    counts = read_cells(batches("cells"), sample_cells(obs_names))
    return None if counts is None else fit_counts(module, counts, gene_mask, label_sums, settings)


@one_thread()
def fit_counts(
    module: HRCAModule,
    counts: sparse.csr_array,
    gene_mask: np.ndarray,
    label_sums: np.ndarray | None,
    settings: PredictionSettings,
) -> QueryFit | None:
    """Fit platform factors and clusters to the counts of sampled cells.

    Parameters
    ----------
    module, label_sums, settings
        See :func:`predict_probabilities`; `settings.calibrated` is not used.
    counts
        Raw counts of the cells of :func:`sample_cells`, in their order, shape (n_sampled, n_genes).
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).

    Returns
    -------
    The fit; None if none is asked for, if no sampled cell has counts, or without `label_sums`.
    """
    if not needs_query_fit(module, label_sums, settings) or label_sums is None or module.count_likelihood is None:
        return None
    cells = survey_cells(module, counts)
    if cells is None:
        return None
    return fit_query(
        double_precision(module.count_likelihood),
        cells,
        gene_mask,
        label_sums,
        platform_correction=settings.platform_correction,
        open_set=settings.open_set,
    )


def needs_query_fit(module: HRCAModule, label_sums: np.ndarray | None, settings: PredictionSettings) -> bool:
    """Return True if platform factors or clusters are to be fitted to a sample of the query's cells."""
    is_asked = settings.platform_correction or settings.open_set
    return is_asked and module.has_fitted_counts and label_sums is not None


def sample_cells(obs_names: Sequence[str]) -> np.ndarray:
    """Return the rows of at most 10,000 cells, ordered by their names: the order of the query changes no result."""
    return np.argsort(uniform_from_names(obs_names), kind="stable")[:MAX_SAMPLED_CELLS]


def cpu_calibration(module: HRCAModule) -> Calibration:
    """Return a copy of the calibration on the CPU, where the scores are."""
    calibration = Calibration(module.n_labels)
    calibration.load_state_dict(module.calibration.state_dict())
    return calibration


@dataclass
class _Results:
    """Results of a pass over the cells, which are final as soon as a batch is added.

    Attributes
    ----------
    log_probabilities
        Log-probabilities among the labels, shape (n_obs, n_labels), float32.
    depth
        Counts of each cell, clipped, shape (n_obs,).
    open_set_scores
        Deviance and novel probability of the cells; None without a fit of the query.
    calibration
        The calibration; None: probabilities stay uncalibrated.
    pool_weights
        Log pooling weights, shape (2, 2); None without a count likelihood.
    n_by_label
        Number of the cells with counts that each branch assigns to each label, shape (2, n_labels).
    n_agreeing
        Number of those to which both branches assign the same label.
    n_branches
        Number of branches.
    """

    log_probabilities: np.ndarray
    depth: np.ndarray
    open_set_scores: OpenSetScores | None
    calibration: Calibration | None
    pool_weights: torch.Tensor | None
    n_by_label: np.ndarray
    n_agreeing: int = 0
    n_branches: int = 1

    @classmethod
    def empty(cls, n_obs: int, module: HRCAModule, query_fit: QueryFit | None, *, calibrated: bool) -> "_Results":
        """Return results without a cell."""
        return cls(
            np.zeros((n_obs, module.n_labels), dtype=np.float32),
            np.zeros(n_obs),
            None if query_fit is None else OpenSetScores.empty(n_obs),
            cpu_calibration(module) if calibrated else None,
            None if module.count_likelihood is None else module.count_likelihood.pool_weights.cpu(),
            np.zeros((2, module.n_labels)),
            n_branches=2 if module.has_fitted_counts else 1,
        )

    @torch.inference_mode()
    def add(self, rows: slice, scores: BranchScores, open_set_scores: OpenSetScores | None) -> None:
        """Pool, calibrate and store the scores of a batch."""
        has_counts = scores.depth > 0
        branches = [scores.network] if scores.log_likelihood is None else [scores.network, scores.log_likelihood]
        codes = [branch[has_counts].argmax(dim=1) for branch in branches]
        for i, labels in enumerate(codes):
            self.n_by_label[i] += torch.bincount(labels, minlength=self.n_by_label.shape[1]).numpy()
        self.n_agreeing += int((codes[0] == codes[-1]).sum())
        log_probabilities = scores.pool(self.pool_weights)
        if self.calibration is not None:
            log_probabilities = self.calibration(log_probabilities, scores.depth)
        self.log_probabilities[rows], self.depth[rows] = log_probabilities.numpy(), scores.depth.numpy()
        if self.open_set_scores is not None and open_set_scores is not None:
            self.open_set_scores.assign(rows, open_set_scores)

    def finish(self, query_fit: QueryFit | None) -> CellProbabilities:
        """Return the probabilities of all cells."""
        n_cells = int((self.depth > 0).sum())
        return CellProbabilities(
            self.log_probabilities,
            self.depth,
            self.n_by_label[: self.n_branches] / max(n_cells, 1),
            self.n_agreeing / n_cells if n_cells else 1.0,
            query_fit,
            self.open_set_scores,
        )
