"""Run a network over any number of cells: one aligned, dense batch at a time, a few numbers a label kept of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import CountLikelihood, pool_log_scores

from ._platform_factors import fit_platform, platform_log_likelihood


@torch.inference_mode()
def run(
    network: Callable[[torch.Tensor], torch.Tensor], batches: Iterator[tuple[slice, np.ndarray]]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Run a network over batches of counts.

    Parameters
    ----------
    network
        Takes counts, shape (n_obs, n_genes); moves them to its device itself.
    batches
        From :func:`aligned_batches`.

    Yields
    ------
    Which rows a batch is, the network's output for it, and its counts.
    """
    for rows, counts in batches:
        yield rows, network(torch.from_numpy(counts)).float().cpu().numpy(), counts


@dataclass(frozen=True)
class CellProbabilities:
    """What the module says of a query.

    Attributes
    ----------
    log_probabilities
        Shape (n_obs, n_labels), float32; meaningless for a cell without counts.
    depth
        Counts of each cell on the genes that the model uses, shape (n_obs,); at most those of the deepest cells that
        the network judges whole.
    platform_log_sd
        Standard deviation of the log of the platform factors over the genes used; 0 where none were fitted.
    """

    log_probabilities: np.ndarray
    depth: np.ndarray
    platform_log_sd: float

    @property
    def has_counts(self) -> np.ndarray:
        """Which cells have any counts on the genes that the model uses, shape (n_obs,)."""
        return self.depth > 0

    @property
    def probabilities(self) -> np.ndarray:
        """Shape (n_obs, n_labels), float32; zeros for a cell without counts."""
        return np.exp(self.log_probabilities) * self.has_counts[:, None]


@dataclass(frozen=True)
class BranchScores:
    """What network and counts say of cells, each for itself.

    Attributes
    ----------
    network
        Log-probabilities of the network, shape (n_obs, n_labels).
    log_likelihood
        Log-likelihood of the counts, shape (n_obs, n_labels); None without a count branch.
    depth
        Counts of each cell, shape (n_obs,).
    platform_log_sd
        As in :class:`CellProbabilities`.
    """

    network: torch.Tensor
    log_likelihood: torch.Tensor | None
    depth: torch.Tensor
    platform_log_sd: float = 0.0

    def pool(self, weights: torch.Tensor | None) -> torch.Tensor:
        """Return log-probabilities, not calibrated, shape (n_obs, n_labels).

        Parameters
        ----------
        weights
            Of network and counts, see :class:`hrca.module._count_likelihood.CountLikelihood`; None without a count branch.
        """
        if self.log_likelihood is None:
            return self.network
        weights = weights.to(self.depth)
        return pool_log_scores(self.network, self.log_likelihood, self.depth, weights).log_softmax(dim=1)

    def subset(self, rows: np.ndarray) -> "BranchScores":
        """Return what is said of some cells, given by a mask or by indices."""
        rows = torch.from_numpy(rows)
        log_likelihood = None if self.log_likelihood is None else self.log_likelihood[rows]
        return BranchScores(self.network[rows], log_likelihood, self.depth[rows])

    @staticmethod
    def concat(several: "list[BranchScores]") -> "BranchScores":
        """Put what is said of several sets of cells one after the other."""
        network, depth = (torch.cat([getattr(heard, name) for heard in several]) for name in ("network", "depth"))
        with_counts = several[0].log_likelihood is not None
        return BranchScores(
            network, torch.cat([heard.log_likelihood for heard in several]) if with_counts else None, depth
        )


def score_cells(
    module: torch.nn.Module,
    batches: Iterator[tuple[slice, np.ndarray]],
    n_obs: int,
    present: np.ndarray,
    *,
    platform_correction: bool,
) -> BranchScores:
    """Ask network and counts, in one forward; the memory grows with n_obs x n_labels, not with n_genes.

    Parameters
    ----------
    module
        The :class:`hrca.module._module.HRCAModule`.
    batches
        From :func:`aligned_batches`.
    n_obs
        Number of cells.
    present
        Which of the model's genes the query measures, shape (n_genes,).
    platform_correction
        Whether to fit platform factors to these cells; see :func:`hrca.prediction._platform_factors.fit_platform`.

    Returns
    -------
    What both say of each cell, in order, in double precision; its depth is at most that of the deepest cells that the
    network judges whole.
    """
    gene_mask = module.gene_mask.cpu().numpy() * present
    n_labels = module.n_labels
    fitted = module.has_fitted_counts
    says = np.zeros((n_obs, 2 * n_labels if fitted else n_labels), dtype=np.float32)
    sets = [gene_mask, gene_mask * module.count_likelihood.is_informative.cpu().numpy()] if fitted else [gene_mask]
    depth, totals = np.zeros((n_obs, len(sets))), np.zeros(len(gene_mask))
    for rows, output, counts in run(module.branch_log_scores, batches):
        says[rows] = output
        depth[rows] = counts @ np.stack(sets, axis=1)
        totals += gene_mask * counts.sum(axis=0, dtype=np.float64)
    if not fitted:
        return BranchScores(torch.from_numpy(says).double(), None, torch.from_numpy(depth[:, 0]))
    return _with_factors(module.count_likelihood, says, depth, totals, gene_mask, platform_correction)


def predict_probabilities(
    module: torch.nn.Module,
    batches: Iterator[tuple[slice, np.ndarray]],
    n_obs: int,
    present: np.ndarray,
    *,
    platform_correction: bool,
    calibrated: bool = True,
) -> CellProbabilities:
    """Label cells by network and counts.

    Parameters
    ----------
    module
        As in :func:`score_cells`.
    batches
        As in :func:`score_cells`.
    n_obs
        As in :func:`score_cells`.
    present
        As in :func:`score_cells`.
    platform_correction
        As in :func:`score_cells`.
    calibrated
        Whether the probabilities are calibrated.

    Returns
    -------
    What the module says of each cell, in order.
    """
    heard = score_cells(module, batches, n_obs, present, platform_correction=platform_correction)
    depth, platform_log_sd = heard.depth, heard.platform_log_sd
    with torch.inference_mode():
        log_probabilities = heard.pool(module.count_likelihood.pool_weights.cpu() if module.has_fitted_counts else None)
        # of a large query it is as much again
        del heard
        if calibrated:
            on_cpu = Calibration(log_probabilities.shape[1])
            on_cpu.load_state_dict(module.calibration.state_dict())
            log_probabilities = on_cpu(log_probabilities, depth)
    return CellProbabilities(log_probabilities.numpy().astype(np.float32), depth.numpy(), platform_log_sd)


@torch.inference_mode()
def _with_factors(
    count_likelihood: CountLikelihood,
    says: np.ndarray,
    depth: np.ndarray,
    totals: np.ndarray,
    gene_mask: np.ndarray,
    platform_correction: bool,
) -> BranchScores:
    # double precision, on the CPU: the factors must not depend on the order of the cells
    on_cpu = CountLikelihood(*count_likelihood.log_profiles.shape).double()
    on_cpu.load_state_dict(count_likelihood.state_dict())
    network, log_likelihood = torch.from_numpy(says).double().chunk(2, dim=1)
    depths, totals_, factors = (torch.from_numpy(x).double() for x in (depth, totals, gene_mask))
    if platform_correction:
        factors = fit_platform(on_cpu, log_likelihood, depths, totals_, factors)
    spread = float(np.log(factors.numpy()[gene_mask > 0]).std()) if gene_mask.any() else 0.0
    return BranchScores(network, *platform_log_likelihood(on_cpu, log_likelihood, depths, factors), spread)
