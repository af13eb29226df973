"""What is learned once the networks are: from held-out cells how far to trust what, and what novelty is measured by."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from hrca.data._row_reader import dense, weighted_depth
from hrca.module._module import HRCAModule
from hrca.module._profiles import class_profiles
from hrca.module._transforms import MIN_THINNED_DEPTH, corrupt
from hrca.prediction._forward import BranchScores, score_cells
from hrca.prediction._platform_factors import normalize_log_likelihood

# A query's cell with more counts than this share of the reference's cells is judged by thinned draws of it; not tuned.
MAX_DEPTH_QUANTILE = 0.9

# Depths at which each held-out cell stands when the weights of network and counts are learned: its own, and thinned;
# enough that a line over log depth is well determined.
HELD_OUT_DRAWS = 10

HELD_OUT_SEED = 0

HELD_OUT_BATCH = 512

# Confidence is asked of cells with fewer counts than training goes down to, too (docs/decisions/0004).
MIN_CALIBRATION_DEPTH = 3


@dataclass(frozen=True)
class HeldOutScores:
    """What is said of cells by networks and profiles that do not know them: as they are, and thinned.

    Each cell stands in as many rows as it has depths, in the same order in all of these.

    Attributes
    ----------
    cells
        Which cell of the reference, shape (n_rows,).
    codes
        Index of its label, shape (n_rows,).
    to_weigh
        What the weights of network and counts are learned from: thinned as in training; None without a count branch.
    to_calibrate
        What the calibration is learned from: as prediction hears it, and thinned further.
    """

    cells: np.ndarray
    codes: np.ndarray
    to_weigh: BranchScores | None
    to_calibrate: BranchScores

    def subset(self, rows: np.ndarray) -> "HeldOutScores":
        """Return some rows, given by a mask."""
        to_weigh = None if self.to_weigh is None else self.to_weigh.subset(rows)
        return HeldOutScores(self.cells[rows], self.codes[rows], to_weigh, self.to_calibrate.subset(rows))

    @staticmethod
    def concat(several: "Sequence[HeldOutScores]") -> "HeldOutScores":
        """Put the rows of several one after the other."""
        cells, codes = (np.concatenate([getattr(said, name) for said in several]) for name in ("cells", "codes"))
        weighed = [said.to_weigh for said in several]
        to_weigh = None if weighed[0] is None else BranchScores.concat(weighed)
        return HeldOutScores(cells, codes, to_weigh, BranchScores.concat([said.to_calibrate for said in several]))


@torch.no_grad()
def score_held_out(
    module: HRCAModule, counts, codes: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> HeldOutScores:
    """Let a module say of held-out cells what it would say of a query; its profiles become those of the other cells.

    The held-out cells stand as they are, and thinned to the depths of a matched query or to log-uniform ones, whatever
    the corruption of training was.

    Parameters
    ----------
    module
        The fine-tuned module; its networks stay as they are.
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,).
    train
        Indices of the labelled cells that the profiles may know, shape (n_train,).
    held_out
        Indices of labelled cells that trained nothing, rising, shape (n_held_out,).

    Returns
    -------
    What it says, ten rows for each held-out cell: all cells as they are, then all of them thinned, nine times.
    """
    module.eval()
    _fit_profiles(module, counts, codes, train, new_depth_of=train)
    cells, to_weigh = np.tile(held_out, HELD_OUT_DRAWS), None
    if module.count_likelihood is not None and len(held_out):
        to_weigh = _scores_for_weights(module, counts[held_out])
    return HeldOutScores(cells, codes[cells], to_weigh, _scores_for_calibration(module, counts[held_out]))


def _deepest(module: HRCAModule, counts, cells: np.ndarray) -> float:
    depth = weighted_depth(counts, module.gene_mask.cpu().numpy())[cells]
    return max(float(np.quantile(depth, MAX_DEPTH_QUANTILE)), 1.0)


def _fit_profiles(
    module: HRCAModule, counts, codes: np.ndarray, cells: np.ndarray, *, new_depth_of: np.ndarray | None
) -> None:
    """Learn the profiles of some cells; the depth of the deepest is that of others, or stays as it is."""
    if module.count_likelihood is None:
        return
    n_labels, used = module.n_labels, module.gene_mask.cpu().numpy()
    codes_known = np.full_like(codes, n_labels)
    codes_known[cells] = codes[cells]
    max_depth = (
        float(module.count_likelihood.max_depth) if new_depth_of is None else _deepest(module, counts, new_depth_of)
    )
    module.count_likelihood.fit_profiles(class_profiles(counts, codes_known, n_labels), used, max_depth)


def _thinned_batches(module: HRCAModule, counts, thinnest: int) -> Iterator[torch.Tensor]:
    """Go through held-out cells as often as there are draws: as they are first, then thinned, down to `thinnest`."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    quantiles, used = module.query_depth_quantiles, module.gene_mask.cpu()
    quantiles = None if quantiles is None else quantiles.cpu()
    for draw in range(HELD_OUT_DRAWS):
        for start in range(0, counts.shape[0], HELD_OUT_BATCH):
            batch = torch.from_numpy(dense(counts[start : start + HELD_OUT_BATCH]).astype(np.float32, copy=False))
            yield corrupt(batch * used, "thin" if draw else "none", generator, quantiles, thinnest)


def _scores_for_weights(module: HRCAModule, counts) -> BranchScores:
    count_likelihood, used = module.count_likelihood, module.gene_mask.cpu()
    is_informative = count_likelihood.is_informative.cpu()
    network, log_likelihood, depths = [], [], []
    for batch in _thinned_batches(module, counts, MIN_THINNED_DEPTH):
        network.append(F.log_softmax(module.classify(batch).float(), dim=1).cpu())
        log_likelihood.append(count_likelihood(batch.to(module.device)).cpu())
        depths.append(torch.stack([batch.sum(dim=1), batch @ is_informative], dim=1))
    network, log_likelihood, depth = (torch.cat(parts) for parts in (network, log_likelihood, depths))
    log_likelihood = normalize_log_likelihood(copy.deepcopy(count_likelihood).cpu(), log_likelihood, depth, used)
    return BranchScores(network, log_likelihood, depth[:, 0])


def _scores_for_calibration(module: HRCAModule, counts) -> BranchScores:
    def numbered() -> Iterator[tuple[slice, np.ndarray]]:
        start = 0
        for batch in _thinned_batches(module, counts, MIN_CALIBRATION_DEPTH):
            yield slice(start, start + len(batch)), batch.numpy()
            start += len(batch)

    n_obs, every_gene = HELD_OUT_DRAWS * counts.shape[0], np.ones(counts.shape[1], dtype=np.float32)
    return score_cells(module, numbered(), n_obs, every_gene, platform_correction=False)
