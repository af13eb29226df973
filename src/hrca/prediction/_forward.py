"""Batched forward passes: log-scores of classifier and count likelihood, and label probabilities.

Counts pass through in dense batches of aligned genes. Only some numbers per cell and label are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import CountLikelihood, pool_log_scores
from hrca.module._module import HRCAModule
from hrca.typing import Batches

from ._platform_factors import fit_platform, platform_log_likelihood


@dataclass(frozen=True)
class CellProbabilities:
    """Label probabilities of cells.

    Attributes
    ----------
    log_probabilities
        Log-probabilities, shape (n_obs, n_labels), float32; not meaningful for a cell without counts.
    depth
        Counts of each cell on the genes that model and query share, shape (n_obs,), clipped to the `max_depth` of a
        fitted count likelihood.
    platform_log_sd
        Standard deviation of the log platform factors over these genes; 0 if none were fitted.
    """

    log_probabilities: np.ndarray
    depth: np.ndarray
    platform_log_sd: float

    @property
    def has_counts(self) -> np.ndarray:
        """Boolean, True for a cell with counts on the shared genes, shape (n_obs,)."""
        return self.depth > 0

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, shape (n_obs, n_labels), float32; zeros for a cell without counts."""
        return np.exp(self.log_probabilities) * self.has_counts[:, None]


@dataclass(frozen=True)
class BranchScores:
    """Log-scores of the classifier and of the count likelihood, before pooling.

    Attributes
    ----------
    network
        Log-probabilities of the classifier, shape (n_obs, n_labels).
    log_likelihood
        Log-likelihood of the counts, shape (n_obs, n_labels); None without a fitted count likelihood.
    depth
        Counts of each cell, shape (n_obs,), clipped as in :class:`CellProbabilities`.
    platform_log_sd
        Standard deviation of the log platform factors; 0 if none were fitted.
    """

    network: Tensor
    log_likelihood: Tensor | None
    depth: Tensor
    platform_log_sd: float = 0.0

    def pool(self, pool_weights: Tensor | None) -> Tensor:
        """Return pooled log-probabilities, before calibration.

        Parameters
        ----------
        pool_weights
            Log weights of both branches, shape (2, 2); see
            :class:`hrca.module._count_likelihood.CountLikelihood`. Not used without a log-likelihood.

        Returns
        -------
        Log-probabilities, shape (n_obs, n_labels).

        Raises
        ------
        ValueError
            If there is a log-likelihood and `pool_weights` is None.
        """
        if self.log_likelihood is None:
            return self.network
        if pool_weights is None:
            raise ValueError("`pool_weights` must be given to pool the log-likelihood, got None.")
        pool_weights = pool_weights.to(self.depth)
        return pool_log_scores(self.network, self.log_likelihood, self.depth, pool_weights).log_softmax(dim=1)

    def subset(self, rows: np.ndarray) -> "BranchScores":
        """Return the scores of some cells.

        Parameters
        ----------
        rows
            Boolean, shape (n_obs,), or indices, shape (n_rows,).

        Returns
        -------
        Their scores, without `platform_log_sd`.
        """
        index = torch.from_numpy(rows)
        log_likelihood = None if self.log_likelihood is None else self.log_likelihood[index]
        return BranchScores(self.network[index], log_likelihood, self.depth[index])

    @staticmethod
    def concat(parts: "Sequence[BranchScores]") -> "BranchScores":
        """Concatenate the scores of several sets of cells.

        Parameters
        ----------
        parts
            The scores, at least one; all with a log-likelihood, or all without.

        Returns
        -------
        The scores of all cells, in order, without `platform_log_sd`.
        """
        log_likelihoods = [scores.log_likelihood for scores in parts if scores.log_likelihood is not None]
        return BranchScores(
            torch.cat([scores.network for scores in parts]),
            torch.cat(log_likelihoods) if log_likelihoods else None,
            torch.cat([scores.depth for scores in parts]),
        )


@torch.inference_mode()
def run(network: Callable[[Tensor], Tensor], batches: Batches) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Run a network over batches of counts.

    Parameters
    ----------
    network
        Function of counts, shape (n_batch, n_genes), that moves them to its own device.
    batches
        Rows and dense counts of each batch; see :func:`hrca.data._batches.aligned_batches`.

    Yields
    ------
    Rows of the batch, the network's output, float32, and the counts.
    """
    for rows, counts in batches:
        yield rows, network(torch.from_numpy(counts)).float().cpu().numpy(), counts


def score_cells(
    module: HRCAModule, batches: Batches, n_obs: int, present: np.ndarray, *, platform_correction: bool
) -> BranchScores:
    """Score cells by the classifier and by the count likelihood.

    Memory grows with n_obs x n_labels, not with n_genes.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    batches
        Rows and dense counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    n_obs
        Number of cells.
    present
        Boolean or 0 and 1, the genes of the model that the query measures, shape (n_genes,).
    platform_correction
        If True, fit platform factors to these cells; see :func:`hrca.prediction._platform_factors.fit_platform`.

    Returns
    -------
    Scores of the cells, in order, in double precision.
    """
    gene_mask = module.gene_mask.cpu().numpy() * present
    count_likelihood = module.count_likelihood if module.has_fitted_counts else None
    gene_sets = [gene_mask]
    if count_likelihood is not None:
        gene_sets.append(gene_mask * count_likelihood.is_informative.cpu().numpy())
    weights, n_columns = np.stack(gene_sets, axis=1), len(gene_sets) * module.n_labels

    scores = np.zeros((n_obs, n_columns), dtype=np.float32)
    depth, totals = np.zeros((n_obs, len(gene_sets))), np.zeros(len(gene_mask))
    for rows, batch_scores, counts in run(module.branch_log_scores, batches):
        scores[rows] = batch_scores
        depth[rows] = counts @ weights
        totals += gene_mask * counts.sum(axis=0, dtype=np.float64)
    if count_likelihood is None:
        return BranchScores(torch.from_numpy(scores).double(), None, torch.from_numpy(depth[:, 0]))
    return _complete_scores(count_likelihood, scores, depth, totals, gene_mask, platform_correction=platform_correction)


def predict_probabilities(
    module: HRCAModule,
    batches: Batches,
    n_obs: int,
    present: np.ndarray,
    *,
    platform_correction: bool,
    calibrated: bool = True,
) -> CellProbabilities:
    """Predict label probabilities by the classifier and the count likelihood.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    batches
        Rows and dense counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    n_obs
        Number of cells.
    present
        Boolean or 0 and 1, the genes of the model that the query measures, shape (n_genes,).
    platform_correction
        If True, fit platform factors to these cells; see :func:`hrca.prediction._platform_factors.fit_platform`.
    calibrated
        If True, calibrate the probabilities.

    Returns
    -------
    Probabilities of the cells, in order.
    """
    scores = score_cells(module, batches, n_obs, present, platform_correction=platform_correction)
    depth, platform_log_sd = scores.depth, scores.platform_log_sd
    pool_weights = None if module.count_likelihood is None else module.count_likelihood.pool_weights.cpu()
    with torch.inference_mode():
        log_probabilities = scores.pool(pool_weights)
        # frees as much memory as the calibration of a large query needs
        del scores
        if calibrated:
            # on the CPU, where the scores are
            calibration = Calibration(module.n_labels)
            calibration.load_state_dict(module.calibration.state_dict())
            log_probabilities = calibration(log_probabilities, depth)
    return CellProbabilities(log_probabilities.numpy().astype(np.float32), depth.numpy(), platform_log_sd)


@torch.inference_mode()
def _complete_scores(
    count_likelihood: CountLikelihood,
    scores: np.ndarray,
    depth: np.ndarray,
    totals: np.ndarray,
    gene_mask: np.ndarray,
    *,
    platform_correction: bool,
) -> BranchScores:
    """Split the scores by branch, and complete the log-likelihood by the norms of the profiles on the query's platform.

    Parameters
    ----------
    count_likelihood
        The fitted count likelihood.
    scores
        Output of :meth:`hrca.module._module.HRCAModule.branch_log_scores`, shape (n_obs, 2 n_labels).
    depth
        Counts of each cell on all genes and on the informative ones, shape (n_obs, 2).
    totals
        Counts of each gene in the query, shape (n_genes,).
    gene_mask
        1 for a gene that model and query share, shape (n_genes,).
    platform_correction
        If True, fit platform factors; otherwise they are 1.
    """
    # Double precision on the CPU, so that the factors do not depend on the order of the cells.
    likelihood = CountLikelihood(*count_likelihood.log_profiles.shape).double()
    likelihood.load_state_dict(count_likelihood.state_dict())
    network, log_likelihood = torch.from_numpy(scores).double().chunk(2, dim=1)
    depths, gene_totals, factors = (torch.from_numpy(x).double() for x in (depth, totals, gene_mask))
    if platform_correction:
        factors = fit_platform(likelihood, log_likelihood, depths, gene_totals, factors)
    log_sd = float(np.log(factors.numpy()[gene_mask > 0]).std()) if gene_mask.any() else 0.0
    return BranchScores(network, *platform_log_likelihood(likelihood, log_likelihood, depths, factors), log_sd)
