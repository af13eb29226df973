"""Batched forward passes: log-scores of classifier and count likelihood.

Counts pass through in dense batches of aligned genes. Only some numbers per cell and label are kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hrca.module._count_likelihood import CountLikelihood, pool_log_scores
from hrca.module._module import HRCAModule
from hrca.typing import Batches

from ._platform_factors import QueryCellSample, platform_log_likelihood


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
    """

    network: Tensor
    log_likelihood: Tensor | None
    depth: Tensor

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
        Their scores.
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
        The scores of all cells, in order.
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


def score_cells(module: HRCAModule, batches: Batches, n_obs: int, present: np.ndarray) -> BranchScores:
    """Score cells by the classifier and by the count likelihood, without platform factors.

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

    Returns
    -------
    Scores of the cells, in order, in double precision.
    """
    raw = score_batches(module, batches, n_obs, shared_genes(module, present), np.zeros(0, dtype=np.int64))
    return raw.complete(module, shared_genes(module, present))


def shared_genes(module: HRCAModule, present: np.ndarray) -> np.ndarray:
    """Return 1 for each gene that the model uses and the query measures, 0 for the others, shape (n_genes,)."""
    return module.gene_mask.cpu().numpy() * present


@dataclass(frozen=True)
class RawScores:
    """Outputs of a pass over the cells, before platform factors.

    Attributes
    ----------
    network
        Log-probabilities of the classifier, shape (n_obs, n_labels).
    log_likelihood
        Output of the count likelihood, shape (n_obs, n_labels); None without a fitted count likelihood.
    depth
        Counts of each cell on all genes and, with a count likelihood, on the informative ones, shape (n_obs, 2) or
        (n_obs, 1).
    rows
        Rows of the sampled cells with counts, shape (n_cells,).
    cells
        The sampled cells; None if no cell was sampled, or none has counts.
    """

    network: Tensor
    log_likelihood: Tensor | None
    depth: Tensor
    rows: np.ndarray
    cells: QueryCellSample | None

    def complete(self, module: HRCAModule, factors: np.ndarray) -> BranchScores:
        """Complete the log-likelihood by the norms of the profiles under platform factors, shape (n_genes,)."""
        if self.log_likelihood is None or module.count_likelihood is None:
            return BranchScores(self.network, None, self.depth[:, 0])
        likelihood = double_precision(module.count_likelihood)
        with torch.inference_mode():
            log_likelihood, depth = platform_log_likelihood(
                likelihood, self.log_likelihood, self.depth, torch.from_numpy(factors).double()
            )
        return BranchScores(self.network, log_likelihood, depth)


def double_precision(count_likelihood: CountLikelihood) -> CountLikelihood:
    """Return a copy in double precision on the CPU: factors must not depend on the order of the cells."""
    likelihood = CountLikelihood(*count_likelihood.log_profiles.shape).double()
    likelihood.load_state_dict(count_likelihood.state_dict())
    return likelihood


def score_batches(
    module: HRCAModule, batches: Batches, n_obs: int, gene_mask: np.ndarray, sampled: np.ndarray
) -> RawScores:
    """Run both branches over batches, and keep the counts of some cells.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    batches
        Rows and dense counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    n_obs
        Number of cells.
    gene_mask
        1 for a gene that model and query share, 0 for the others, shape (n_genes,).
    sampled
        Rows of the cells whose counts are kept, shape (n_sampled,).

    Returns
    -------
    Outputs of both branches, and the sampled cells.
    """
    count_likelihood = module.count_likelihood if module.has_fitted_counts else None
    gene_sets = [gene_mask]
    if count_likelihood is not None:
        gene_sets.append(gene_mask * count_likelihood.is_informative.cpu().numpy())
    weights, n_columns = np.stack(gene_sets, axis=1), len(gene_sets) * module.n_labels
    scores, depth = np.zeros((n_obs, n_columns), dtype=np.float32), np.zeros((n_obs, len(gene_sets)))
    is_sampled, blocks = np.isin(np.arange(n_obs), sampled), []
    for rows, batch_scores, counts in run(module.branch_log_scores, batches):
        scores[rows] = batch_scores
        depth[rows] = counts @ weights
        if len(sampled):
            blocks.append(sparse_counts(counts[is_sampled[rows]], gene_mask))
    tensors = torch.from_numpy(scores).double(), torch.from_numpy(depth)
    if count_likelihood is None:
        return RawScores(tensors[0], None, tensors[1], np.zeros(0, dtype=np.int64), None)
    network, log_likelihood = tensors[0].chunk(2, dim=1)
    sampled = sampled[depth[sampled, 0] > 0]
    cells = None
    if len(sampled):
        counts = sparse.vstack(blocks, format="csr")[np.searchsorted(np.flatnonzero(is_sampled), sampled)]
        cells = QueryCellSample(counts, log_likelihood[sampled], tensors[1][sampled])
    return RawScores(network, log_likelihood, tensors[1], sampled, cells)


def sparse_counts(counts: np.ndarray, gene_mask: np.ndarray) -> sparse.csr_array:
    """Return the counts on the genes of the mask, shape (n_obs, n_genes)."""
    return sparse.csr_array(counts * gene_mask.astype(np.float32))
