"""What is learned once the networks are: from held-out cells how far to trust what, and what novelty is measured by."""

import copy
import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from ._calibration import Calibration
from ._counts import dense, weighted_depth
from ._evidence import USUAL_DEPTH, class_profiles, fit_weights
from ._inference import judge_cells
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


@torch.no_grad()
def fit_judgement(module: HRCAModule, counts, codes: np.ndarray, split: dict) -> dict[str, np.ndarray] | None:
    """Fill the count branch, if there is one, and the calibration.

    The weights of network and counts at each depth, and then the temperature, are learned on cells that neither was
    trained on: as they are, and thinned to the depths of a matched query or to log-uniform ones, whatever the
    corruption of training was. Without any they stay as they are in advance. The profiles are then those of all
    labelled cells.

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
        return _calibrate(module, counts[held_out], codes[held_out])
    used = module.genes_used.cpu().numpy()
    deepest = max(float(np.quantile(weighted_depth(counts, used)[train], DEEPEST_QUANTILE)), 1.0)
    codes_train = np.full_like(codes, n_labels)
    codes_train[train] = codes[train]
    evidence.fit_profiles(class_profiles(counts, codes_train, n_labels), used, deepest)
    if len(held_out):
        evidence.weights.copy_(_learn_weights(module, counts[held_out], codes[held_out]))
    # before the profiles know the held-out cells
    scores = _calibrate(module, counts[held_out], codes[held_out])
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
    depth = weighted_depth(counts, module.genes_used.cpu().numpy())
    deepest = max(float(np.quantile(depth[codes < n_labels], DEEPEST_QUANTILE)), 1.0)
    return keep_cells(counts, codes, n_labels, deepest)


def _thinned_batches(module: HRCAModule, counts) -> Iterator[torch.Tensor]:
    """Go through held-out cells as often as there are draws: as they are first, then thinned as in training."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    quantiles, used = module.matched_depths, module.genes_used.cpu()
    quantiles = None if quantiles is None else quantiles.cpu()
    for draw in range(HELD_OUT_DRAWS):
        for start in range(0, counts.shape[0], HELD_OUT_BATCH):
            batch = torch.from_numpy(dense(counts[start : start + HELD_OUT_BATCH]).astype(np.float32, copy=False))
            yield corrupt(batch * used, "thin" if draw else "none", generator, quantiles)


def _calibrate(module: HRCAModule, counts, codes: np.ndarray) -> dict[str, np.ndarray] | None:
    def numbered() -> Iterator[tuple[slice, np.ndarray]]:
        start = 0
        for batch in _thinned_batches(module, counts):
            yield slice(start, start + len(batch)), batch.numpy()
            start += len(batch)

    n_obs, every_gene = HELD_OUT_DRAWS * len(codes), np.ones(counts.shape[1], dtype=np.float32)
    judgement = judge_cells(module, numbered(), n_obs, every_gene, match_platform=False, calibrated=False)
    judged, calibration = judgement.has_counts, Calibration()
    if not judged.any():
        module.calibration.load_state_dict(calibration.state_dict())
        return None
    codes, cells = (np.tile(x, HELD_OUT_DRAWS)[judged] for x in (codes, np.arange(len(codes))))
    said, depth = (torch.from_numpy(x[judged]).double() for x in (judgement.log_probabilities, judgement.depth))
    calibration.fit(said, depth, torch.from_numpy(codes).long(), len(np.unique(cells)))
    module.calibration.load_state_dict(calibration.state_dict())
    logger.info("Temperature at 100 counts a cell: %.2f.", calibration.log_temperature[0].exp())
    return held_out_scores(calibration(said, depth).exp().numpy(), depth.numpy(), codes, cells)


def _learn_weights(module: HRCAModule, counts, codes: np.ndarray) -> torch.Tensor:
    evidence, used = module.evidence, module.genes_used.cpu()
    informative = evidence.informative.cpu()
    network, log_likelihood, depths = [], [], []
    for batch in _thinned_batches(module, counts):
        network.append(F.log_softmax(module.classify(batch).float(), dim=1).cpu())
        log_likelihood.append(evidence(batch.to(module.device)).cpu())
        depths.append(torch.stack([batch.sum(dim=1), batch @ informative], dim=1))
    network, log_likelihood, depth = (torch.cat(parts) for parts in (network, log_likelihood, depths))
    log_likelihood = normalize(copy.deepcopy(evidence).cpu(), log_likelihood, depth, used)
    codes = torch.from_numpy(codes).long().repeat(HELD_OUT_DRAWS)
    return fit_weights(network, log_likelihood, depth[:, 0], codes, len(codes) // HELD_OUT_DRAWS)
