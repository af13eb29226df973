"""What is learned once the networks are: from held-out cells how far to trust what, and what novelty is measured by."""

import copy
import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from ._calibration import Calibration
from ._counts import dense, weighted_depth
from ._evidence import USUAL_DEPTH, class_profiles, fit_weights, prior_weights
from ._inference import Judgement, judge_cells
from ._module import HRCAModule
from ._novelty import keep_cells
from ._platform import normalize
from ._sets import held_out_scores
from ._transforms import corrupt

logger = logging.getLogger(__name__)

# A query's cell with more counts than this share of the reference's cells is judged by thinned draws of it; not tuned.
DEEPEST_QUANTILE = 0.9
# Depths at which each held-out cell stands when the weights of network and counts are learned: its own, and thinned;
# enough that a line over log depth is well determined.
HELD_OUT_DRAWS = 10
HELD_OUT_SEED = 0
HELD_OUT_BATCH = 512
# Parts of the held-out cells, each of which is calibrated by weights that the others taught: weights claim too much of
# the cells that taught them (docs/decisions/0004). Not tuned.
N_FOLDS = 5


@torch.no_grad()
def fit_judgement(module: HRCAModule, counts, codes: np.ndarray, split: dict) -> dict[str, np.ndarray] | None:
    """Fill the count branch, if there is one, and the calibration.

    The weights of network and counts at each depth, and then the calibration, are learned on cells that neither was
    trained on: as they are, and thinned to the depths of a matched query or to log-uniform ones, whatever the
    corruption of training was. Without any they stay as they are in advance. What is calibrated of a cell was weighed
    as the other cells teach. The profiles are then those of all labelled cells.

    Parameters
    ----------
    module
        The fine-tuned module; its networks stay as they are.
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    split
        Indices of the ``train`` and ``validation`` cells.

    Returns
    -------
    What sets of labels need of the held-out cells, see :func:`hrca._sets.held_out_scores`; None without any.
    """
    module.eval()
    evidence, n_labels = module.evidence, module.se_classifier.output.out_features
    train, held_out = (cells[codes[cells] < n_labels] for cells in (split["train"], split["validation"]))
    if evidence is None:
        return _calibrate(module, codes[held_out], [(np.arange(len(held_out)), _judge(module, counts[held_out]))])
    used = module.genes_used.cpu().numpy()
    deepest = _deepest(module, counts, train)
    codes_train = np.full_like(codes, n_labels)
    codes_train[train] = codes[train]
    evidence.fit_profiles(class_profiles(counts, codes_train, n_labels), used, deepest)
    weigh, cells = _weights_of(module, counts[held_out], codes[held_out]), np.arange(len(held_out))
    folds, judged = [cells[i::N_FOLDS] for i in range(min(N_FOLDS, len(cells)))], []
    for fold in folds:
        evidence.weights.copy_(weigh(np.setdiff1d(cells, fold)))
        judged.append((fold, _judge(module, counts[held_out[fold]])))
    evidence.weights.copy_(weigh(cells))
    scores = _calibrate(module, codes[held_out], judged)
    # only now the profiles know the held-out cells
    evidence.fit_profiles(class_profiles(counts, codes, n_labels), used, deepest)
    weights = evidence.weights[0].exp().tolist()
    logger.info("Weights of network and counts at %d counts a cell: %s.", USUAL_DEPTH, weights)
    return scores


def keep_reference(module: HRCAModule, counts, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the novelty of query cells is measured by; see :func:`hrca._novelty.keep_cells`.

    Parameters
    ----------
    module
        The fine-tuned module.
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    """
    n_labels = module.se_classifier.output.out_features
    return keep_cells(counts, codes, n_labels, _deepest(module, counts, np.flatnonzero(codes < n_labels)))


def _deepest(module: HRCAModule, counts, cells: np.ndarray) -> float:
    depth = weighted_depth(counts, module.genes_used.cpu().numpy())[cells]
    return max(float(np.quantile(depth, DEEPEST_QUANTILE)), 1.0)


def _thinned_batches(module: HRCAModule, counts) -> Iterator[torch.Tensor]:
    """Go through held-out cells as often as there are draws: as they are first, then thinned as in training."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    quantiles, used = module.matched_depths, module.genes_used.cpu()
    quantiles = None if quantiles is None else quantiles.cpu()
    for draw in range(HELD_OUT_DRAWS):
        for start in range(0, counts.shape[0], HELD_OUT_BATCH):
            batch = torch.from_numpy(dense(counts[start : start + HELD_OUT_BATCH]).astype(np.float32, copy=False))
            yield corrupt(batch * used, "thin" if draw else "none", generator, quantiles)


def _judge(module: HRCAModule, counts) -> Judgement:
    """Say of each cell, draw after draw, what the module says, not calibrated."""

    def numbered() -> Iterator[tuple[slice, np.ndarray]]:
        start = 0
        for batch in _thinned_batches(module, counts):
            yield slice(start, start + len(batch)), batch.numpy()
            start += len(batch)

    n_obs, every_gene = HELD_OUT_DRAWS * counts.shape[0], np.ones(counts.shape[1], dtype=np.float32)
    return judge_cells(module, numbered(), n_obs, every_gene, match_platform=False, calibrated=False)


def _calibrate(
    module: HRCAModule, codes: np.ndarray, judged: list[tuple[np.ndarray, Judgement]]
) -> dict[str, np.ndarray] | None:
    """Fit the calibration to held-out cells, given as parts: which cells, and what was said of them."""
    calibration = Calibration()
    said, depth, cells = [], [], [np.zeros(0, dtype=int)]
    for part, judgement in judged:
        said.append(judgement.log_probabilities[judgement.has_counts])
        depth.append(judgement.depth[judgement.has_counts])
        cells.append(np.tile(part, HELD_OUT_DRAWS)[judgement.has_counts])
    cells = np.concatenate(cells)
    if not len(cells):
        module.calibration.load_state_dict(calibration.state_dict())
        return None
    codes = codes[cells]
    said, depth = (torch.from_numpy(np.concatenate(parts)).double() for parts in (said, depth))
    calibration.fit(said, depth, torch.from_numpy(codes).long(), len(np.unique(cells)))
    module.calibration.load_state_dict(calibration.state_dict())
    temperature, share = calibration.log_temperature[0].exp(), calibration.stray_share
    logger.info("Temperature at %d counts a cell: %.2f; stray labels: %.3f.", USUAL_DEPTH, temperature, share)
    return held_out_scores(calibration(said, depth).exp().numpy(), depth.numpy(), codes, cells)


def _weights_of(module: HRCAModule, counts, codes: np.ndarray) -> Callable[[np.ndarray], torch.Tensor]:
    """Return what learns the weights of network and counts from some of these cells."""
    evidence, used = module.evidence, module.genes_used.cpu()
    if not len(codes):
        return lambda chosen: prior_weights()
    informative = evidence.informative.cpu()
    network, log_likelihood, depths = [], [], []
    for batch in _thinned_batches(module, counts):
        network.append(F.log_softmax(module.classify(batch).float(), dim=1).cpu())
        log_likelihood.append(evidence(batch.to(module.device)).cpu())
        depths.append(torch.stack([batch.sum(dim=1), batch @ informative], dim=1))
    network, log_likelihood, depth = (torch.cat(parts) for parts in (network, log_likelihood, depths))
    log_likelihood = normalize(copy.deepcopy(evidence).cpu(), log_likelihood, depth, used)
    every = torch.from_numpy(codes).long().repeat(HELD_OUT_DRAWS)

    def of(chosen: np.ndarray) -> torch.Tensor:
        if not len(chosen):
            return prior_weights()
        rows = torch.from_numpy(np.concatenate([chosen + i * len(codes) for i in range(HELD_OUT_DRAWS)]))
        return fit_weights(network[rows], log_likelihood[rows], depth[rows, 0], every[rows], len(chosen))

    return of
