"""Scores of reference cells that a model was not trained on."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional as F

from hrca.data._reference_cells import ReferenceCells
from hrca.data._row_reader import dense, weighted_depth
from hrca.module._count_likelihood import CountLikelihood
from hrca.module._module import HRCAModule
from hrca.module._profiles import class_profiles
from hrca.module._transforms import MIN_THINNED_DEPTH, corrupt
from hrca.prediction._forward import BranchScores, score_cells
from hrca.prediction._platform_likelihood import normalize_log_likelihood, platform_log_norms
from hrca.typing import StoredMatrix

# Query cells deeper than this quantile of the reference's depths are classified by thinned draws. Not tuned.
MAX_DEPTH_QUANTILE = 0.9

# Number of depths at which each held-out cell is scored: its own, and nine thinned ones. The pooling weights and the
# calibration have slopes over log depth, which these depths determine.
N_DEPTHS = 10

# Seed of the thinning. Any fixed number serves.
HELD_OUT_SEED = 0

# Number of held-out cells that are made dense at a time.
HELD_OUT_BATCH_SIZE = 512

# Minimum depth to which cells are thinned for the calibration. It is below that of training, since the confidence of
# shallower query cells is calibrated too (docs/decisions/0004).
MIN_CALIBRATION_DEPTH = 3


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of held-out cells by networks and label profiles that were fitted without them.

    Each cell has ten rows, in the same order in all attributes: one at its own depth, nine at thinned depths.

    Attributes
    ----------
    cells
        Index of the cell in the reference, shape (n_rows,).
    codes
        Index of its label, shape (n_rows,).
    scores_for_weights
        Scores for the fit of the pooling weights: of cells thinned as in training. None without a count likelihood.
    scores_for_calibration
        Scores for the fit of the calibration: of cells thinned further, and computed as for a query.
    """

    cells: np.ndarray
    codes: np.ndarray
    scores_for_weights: BranchScores | None
    scores_for_calibration: BranchScores

    @property
    def n_cells(self) -> int:
        """Number of different cells."""
        return len(np.unique(self.cells))

    def subset(self, rows: np.ndarray) -> "HeldOutScores":
        """Return some of the rows, given by a mask."""
        for_weights = None if self.scores_for_weights is None else self.scores_for_weights.subset(rows)
        return HeldOutScores(self.cells[rows], self.codes[rows], for_weights, self.scores_for_calibration.subset(rows))

    @staticmethod
    def concat(scores: "Sequence[HeldOutScores]") -> "HeldOutScores":
        """Concatenate the rows of several models of one reference."""
        for_weights = [part.scores_for_weights for part in scores if part.scores_for_weights is not None]
        return HeldOutScores(
            np.concatenate([part.cells for part in scores]),
            np.concatenate([part.codes for part in scores]),
            BranchScores.concat(for_weights) if for_weights else None,
            BranchScores.concat([part.scores_for_calibration for part in scores]),
        )


@torch.no_grad()
def score_held_out(
    module: HRCAModule, reference: ReferenceCells, train: np.ndarray, held_out: np.ndarray
) -> HeldOutScores:
    """Score held-out reference cells as `predict` scores a query.

    The label profiles of the module are estimated anew from the training cells alone, so that no held-out cell
    contributes to the profile of its label. Each held-out cell is scored at its own depth and at nine thinned depths,
    which are drawn from those of a matched query, or else log-uniformly. The depths do not depend on the corruption in
    training.

    Parameters
    ----------
    module
        The fine-tuned module. Its networks stay as they are; its profiles change.
    reference
        Counts and label codes of the reference.
    train
        Indices of the labelled training cells, shape (n_train,).
    held_out
        Indices of labelled cells that the networks were not trained on, ascending, shape (n_held_out,).

    Returns
    -------
    Ten rows for each held-out cell: first all cells at their own depth, then nine times all cells thinned.
    """
    module.eval()
    cells, counts = np.tile(held_out, N_DEPTHS), reference.counts[held_out]
    scores_for_weights = None
    if module.count_likelihood is not None:
        max_depth = max_network_depth(module, reference.counts, train)
        fit_label_profiles(module, module.count_likelihood, reference, train, max_depth)
        if len(held_out):
            scores_for_weights = _scores_for_weights(module, module.count_likelihood, counts)
    return HeldOutScores(cells, reference.codes[cells], scores_for_weights, _scores_for_calibration(module, counts))


def max_network_depth(module: HRCAModule, counts: StoredMatrix, cells: np.ndarray) -> float:
    """Return the depth above which query cells are thinned before the network classifies them.

    Parameters
    ----------
    module
        The fine-tuned module.
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    cells
        Indices of the cells whose depths are used, shape (n_cells,).

    Returns
    -------
    The 0.9 quantile of the depths on the genes used, at least 1.
    """
    depth = weighted_depth(counts, module.gene_mask.cpu().numpy())[cells]
    return max(float(np.quantile(depth, MAX_DEPTH_QUANTILE)), 1.0)


def fit_label_profiles(
    module: HRCAModule,
    count_likelihood: CountLikelihood,
    reference: ReferenceCells,
    cells: np.ndarray,
    max_depth: float,
) -> None:
    """Estimate the label profiles of a count likelihood from some of the cells.

    Parameters
    ----------
    module
        The fine-tuned module.
    count_likelihood
        Its count likelihood, which is written.
    reference
        Counts and label codes of the reference.
    cells
        Indices of the labelled cells that contribute to the profiles, shape (n_cells,).
    max_depth
        Depth above which query cells are thinned before the network classifies them.
    """
    codes = np.full_like(reference.codes, reference.n_labels)
    codes[cells] = reference.codes[cells]
    profiles = class_profiles(reference.counts, codes, reference.n_labels)
    count_likelihood.fit_profiles(profiles, module.gene_mask.cpu().numpy(), max_depth)


def _thinned_batches(module: HRCAModule, counts: StoredMatrix, min_depth: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield held-out cells on the genes used: as they are, then nine times thinned to `min_depth` or more."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    quantiles, gene_mask = module.query_depth_quantiles, module.gene_mask.cpu()
    quantiles = None if quantiles is None else quantiles.cpu()
    row = 0
    for draw in range(N_DEPTHS):
        for start in range(0, counts.shape[0], HELD_OUT_BATCH_SIZE):
            batch = torch.from_numpy(dense(counts[start : start + HELD_OUT_BATCH_SIZE]).astype(np.float32, copy=False))
            batch = corrupt(batch * gene_mask, "thin" if draw else "none", generator, quantiles, min_depth)
            yield slice(row, row + len(batch)), batch.numpy()
            row += len(batch)


def _scores_for_weights(module: HRCAModule, count_likelihood: CountLikelihood, counts: StoredMatrix) -> BranchScores:
    is_informative = count_likelihood.is_informative.cpu()
    network_parts, likelihood_parts, depth_parts = [], [], []
    for _, batch in _thinned_batches(module, counts, MIN_THINNED_DEPTH):
        cells = torch.from_numpy(batch)
        network_parts.append(F.log_softmax(module.classify(cells).float(), dim=1).cpu())
        likelihood_parts.append(count_likelihood(cells.to(module.device)).cpu())
        depth_parts.append(torch.stack([cells.sum(dim=1), cells @ is_informative], dim=1))
    network, unnormalized, depth = (torch.cat(parts) for parts in (network_parts, likelihood_parts, depth_parts))
    on_cpu = copy.deepcopy(count_likelihood).cpu()
    log_norms = platform_log_norms(on_cpu, module.gene_mask.cpu())
    log_likelihood = normalize_log_likelihood(unnormalized, depth, log_norms)
    return BranchScores(network, log_likelihood, depth[:, 0])


def _scores_for_calibration(module: HRCAModule, counts: StoredMatrix) -> BranchScores:
    batches = _thinned_batches(module, counts, MIN_CALIBRATION_DEPTH)
    sparse_batches = ((rows, sparse.csr_array(batch)) for rows, batch in batches)
    return score_cells(module, sparse_batches, module.gene_mask.cpu().numpy())
