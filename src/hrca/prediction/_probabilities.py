"""Label probabilities of a query's cells, and the probability of none of the labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hrca.data._name_hash import uniform_from_names
from hrca.module._calibration import Calibration
from hrca.module._module import HRCAModule
from hrca.typing import Batches

from ._forward import BranchScores, RawScores, double_precision, score_batches, shared_genes, sparse_counts
from ._open_set import OpenSetScores, QueryFit, fit_query
from ._platform_factors import platform_log_sd

# A cell is novel if the probability of none of the labels is at least this.
MIN_NOVEL_PROBABILITY = 0.5

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
        return np.exp(self.log_probabilities) * self.has_counts[:, None]

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, shape (n_obs, n_labels), float32; zeros for a cell without counts.

        Those of a cell and `novel_probability` sum to 1.
        """
        return self.known_probabilities * (1 - self.novel_probability)[:, None]

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


@dataclass(frozen=True)
class QueryScores:
    """Scores of both branches, and what was fitted to the query for them.

    Attributes
    ----------
    raw
        Outputs of the pass over the cells.
    scores
        Scores of both branches under the platform factors.
    query_fit
        Platform factors and clusters; None without them.
    """

    raw: RawScores
    scores: BranchScores
    query_fit: QueryFit | None


def score_query(
    module: HRCAModule,
    batches: Callable[[], Batches],
    obs_names: Sequence[str],
    gene_mask: np.ndarray,
    label_sums: np.ndarray | None,
    settings: PredictionSettings,
) -> QueryScores:
    """Score the cells of a query by both branches, under the platform factors of the query.

    Parameters
    ----------
    module, batches, obs_names, label_sums, settings
        See :func:`predict_probabilities`; `settings.calibrated` is not used.
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).

    Returns
    -------
    The scores of the cells, in order, in double precision, and the fit of the query.
    """
    sampled = np.zeros(0, dtype=np.int64)
    if needs_query_fit(module, label_sums, settings):
        sampled = sample_cells(obs_names)
    raw = score_batches(module, batches(), len(obs_names), gene_mask, sampled)
    query_fit = None
    if label_sums is not None and raw.cells is not None and module.count_likelihood is not None:
        query_fit = fit_query(
            double_precision(module.count_likelihood),
            raw.cells,
            gene_mask,
            label_sums,
            platform_correction=settings.platform_correction,
            open_set=settings.open_set,
        )
    scores = raw.complete(module, gene_mask if query_fit is None else query_fit.factors)
    return QueryScores(raw, scores, query_fit)


def needs_query_fit(module: HRCAModule, label_sums: np.ndarray | None, settings: PredictionSettings) -> bool:
    """Return True if platform factors or clusters are to be fitted to a sample of the query's cells."""
    is_asked = settings.platform_correction or settings.open_set
    return is_asked and module.has_fitted_counts and label_sums is not None


def sample_cells(obs_names: Sequence[str]) -> np.ndarray:
    """Return the rows of at most 10,000 cells, ordered by their names: the order of the query changes no result."""
    return np.argsort(uniform_from_names(obs_names), kind="stable")[:MAX_SAMPLED_CELLS]


def predict_probabilities(
    module: HRCAModule,
    batches: Callable[[], Batches],
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
        Returns a new pass over the cells at each call; see :func:`hrca.data._batches.aligned_batches`. A query of more
        than 10,000 cells is read twice.
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
    query_scores = score_query(module, batches, obs_names, gene_mask, label_sums, settings)
    query_fit, scores = query_scores.query_fit, query_scores.scores
    open_set_scores = _score_cells(query_fit, query_scores.raw, batches, gene_mask) if query_fit is not None else None
    depth = scores.depth
    # frees as much memory as the calibration of a large query needs
    del query_scores
    pool_weights = None if module.count_likelihood is None else module.count_likelihood.pool_weights.cpu()
    with torch.inference_mode():
        log_probabilities = scores.pool(pool_weights)
        label_fractions, branch_agreement = _compare_branches(scores)
        del scores
        if settings.calibrated:
            log_probabilities = cpu_calibration(module)(log_probabilities, depth)
    return CellProbabilities(
        log_probabilities.numpy().astype(np.float32),
        depth.numpy(),
        label_fractions,
        branch_agreement,
        query_fit,
        open_set_scores,
    )


def cpu_calibration(module: HRCAModule) -> Calibration:
    """Return a copy of the calibration on the CPU, where the scores are."""
    calibration = Calibration(module.n_labels)
    calibration.load_state_dict(module.calibration.state_dict())
    return calibration


def _score_cells(
    query_fit: QueryFit, raw: RawScores, batches: Callable[[], Batches], gene_mask: np.ndarray
) -> OpenSetScores:
    """Return the scores of all cells. Cells that were not sampled are read again."""
    n_obs = len(raw.depth)
    scores = OpenSetScores.empty(n_obs)
    has_counts = (raw.depth[:, 0] > 0).numpy()
    if raw.cells is not None and len(raw.rows) == has_counts.sum():
        scores.assign(raw.rows, query_fit.score_cells(raw.cells.counts))
        return scores
    for rows, counts in batches():
        scores.assign(rows, query_fit.score_cells(sparse_counts(counts, gene_mask)))
    return scores


def _compare_branches(scores: BranchScores) -> tuple[np.ndarray, float]:
    """Return for cells with counts the fraction of each label by branch, and the fraction with one label from both.

    Returns
    -------
    Fractions, shape (n_branches, n_labels), and agreement; see :class:`CellProbabilities`.
    """
    has_counts, n_labels = scores.depth > 0, scores.network.shape[1]
    branches = [scores.network] if scores.log_likelihood is None else [scores.network, scores.log_likelihood]
    codes = [branch[has_counts].argmax(dim=1) for branch in branches]
    n_cells = max(int(has_counts.sum()), 1)
    fractions = np.stack([torch.bincount(labels, minlength=n_labels).numpy() / n_cells for labels in codes])
    return fractions, float((codes[0] == codes[-1]).sum()) / n_cells if len(codes[0]) else 1.0
