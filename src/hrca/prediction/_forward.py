"""Batched forward passes: log-scores of classifier and count likelihood.

Counts pass through in sparse batches of aligned genes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hrca.module._branch_scorer import BranchScorer, RawScores
from hrca.module._count_likelihood import CountLikelihood, pool_log_scores
from hrca.module._module import HRCAModule
from hrca.module._sparse_counts import SparseCounts
from hrca.typing import Batches

from ._parallel import parallel_map
from ._platform_likelihood import QueryCellSample, platform_log_likelihood, platform_log_norms

# Number of cells whose counts are scored at once. Any number serves.
SURVEY_BATCH_SIZE = 4_096


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


def write_network_outputs(
    network: Callable[[Tensor], Tensor], batches: Batches, outputs: np.ndarray, device: torch.device
) -> None:
    """Run a network over batches of counts.

    Parameters
    ----------
    network
        Function of counts, shape (n_batch, n_genes), that moves them to its own device.
    batches
        Rows and counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    outputs
        The network's output of each cell is written here, shape (n_obs, n_columns), float32.
    device
        The network's device.
    """

    @torch.inference_mode()
    def write(batch: tuple[slice, sparse.csr_array]) -> None:
        rows, counts = batch
        outputs[rows] = network(torch.from_numpy(counts.toarray())).float().cpu().numpy()

    with parallel_map(device.type) as map_batches:
        deque(map_batches(write, batches), maxlen=0)


def score_cells(module: HRCAModule, batches: Batches, factors: np.ndarray) -> BranchScores:
    """Score cells by the classifier and by the count likelihood.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    batches
        Rows and counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    factors
        Platform factors, shape (n_genes,): 0 for genes that model and cells do not share, 1 without correction.

    Returns
    -------
    Scores of the cells, in order, in double precision.
    """
    score, complete = BranchScorer(module), ScoreCompletion.of(module, factors)
    with parallel_map(score.device.type) as map_batches:
        parts = list(map_batches(lambda batch: complete(score(SparseCounts.from_csr(batch[1]))), batches))
    if not parts:
        parts = [complete(score(SparseCounts.from_dense(torch.zeros(0, module.gene_ae.n_genes))))]
    return BranchScores.concat(parts)


def shared_genes(module: HRCAModule, present: np.ndarray) -> np.ndarray:
    """Return 1 for each gene that the model uses and the query measures, 0 for the others, shape (n_genes,)."""
    return module.gene_mask.cpu().numpy() * present


class ScoreCompletion:
    """Completes the log-likelihood by the norms of the profiles under platform factors.

    Parameters
    ----------
    likelihood
        A fitted count likelihood in double precision, or None.
    factors
        Platform factors, shape (n_genes,).
    """

    def __init__(self, likelihood: CountLikelihood | None, factors: np.ndarray):
        self._likelihood = likelihood
        if likelihood is not None:
            self._log_norms = platform_log_norms(likelihood, torch.from_numpy(factors).double())

    @classmethod
    def of(cls, module: HRCAModule, factors: np.ndarray) -> "ScoreCompletion":
        """Complete scores of a module."""
        likelihood = module.count_likelihood if module.has_fitted_counts else None
        return cls(None if likelihood is None else double_precision(likelihood), factors)

    @torch.inference_mode()
    def __call__(self, raw: RawScores) -> BranchScores:
        """Return the scores of cells in double precision, on the CPU."""
        network, depth = raw.network.cpu().double(), raw.depth.cpu().double()
        if self._likelihood is None or raw.log_likelihood is None:
            return BranchScores(network, None, depth[:, 0])
        log_likelihood, clipped = platform_log_likelihood(
            raw.log_likelihood.cpu().double(), depth, self._log_norms, float(self._likelihood.max_depth)
        )
        return BranchScores(network, log_likelihood, clipped)


def double_precision(count_likelihood: CountLikelihood) -> CountLikelihood:
    """Return a copy in double precision on the CPU: factors must not depend on the order of the cells."""
    likelihood = CountLikelihood(*count_likelihood.log_profiles.shape).double()
    likelihood.load_state_dict(count_likelihood.state_dict())
    return likelihood


def read_cells(batches: Batches, sampled: np.ndarray) -> sparse.csr_array | None:
    """Read some cells of a query.

    Parameters
    ----------
    batches
        Rows and counts of each batch; see :func:`hrca.data._batches.aligned_batches`.
    sampled
        Rows of the cells, in the order in which they are returned, shape (n_sampled,).

    Returns
    -------
    Their counts, shape (n_sampled, n_genes); None without batches.
    """
    order = np.sort(sampled)
    # a copy for each batch, so that no batch stays in memory
    blocks, start = [], 0
    for rows, counts in batches:
        stop = int(np.searchsorted(order, rows.stop))
        blocks.append(counts[order[start:stop] - rows.start])
        start = stop
    if not blocks:
        return None
    return sparse.vstack(blocks, format="csr")[np.searchsorted(order, sampled)]


def survey_cells(module: HRCAModule, counts: sparse.csr_array) -> QueryCellSample | None:
    """Score the counts of sampled cells.

    Parameters
    ----------
    module
        The module, with a fitted count likelihood.
    counts
        Raw counts, shape (n_sampled, n_genes).

    Returns
    -------
    Those that have counts on the genes of model and query; None if none has.
    """
    score = BranchScorer(module)
    parts = [score.score_counts(part) for part in SparseCounts.from_csr(counts).split(SURVEY_BATCH_SIZE)]
    depth = torch.cat([depth for depth, _ in parts]).cpu()
    log_likelihood = torch.cat([scores for _, scores in parts if scores is not None]).cpu()
    has_counts = depth[:, 0] > 0
    if not has_counts.any():
        return None
    kept = has_counts.numpy()
    used = used_counts(counts[kept], module.gene_mask.cpu().numpy())
    return QueryCellSample(used, log_likelihood[has_counts].double(), depth[has_counts].double())


def used_counts(counts: sparse.csr_array, gene_mask: np.ndarray) -> sparse.csr_array:
    """Return the counts on the genes of a mask, 0 or 1, shape (n_obs, n_genes), float32."""
    if gene_mask.all():
        return counts.astype(np.float32, copy=False)
    used = sparse.csr_array((counts.data * gene_mask[counts.indices], counts.indices, counts.indptr), counts.shape)
    used = used.astype(np.float32).copy()
    used.eliminate_zeros()
    return used
