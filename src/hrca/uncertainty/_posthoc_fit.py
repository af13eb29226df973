"""Post-hoc fitting on held-out cells, after the networks are trained.

It fits the pooling weights of network and count likelihood, the probability calibration, the conformal scores, and the
reference sample for novelty.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hrca.data._reference_cells import ReferenceCells
from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import REFERENCE_DEPTH, fit_pool_weights, prior_pool_weights
from hrca.module._module import HRCAModule
from hrca.train._sampling import sample_stratified
from hrca.train._splitting import Split

from ._conformal import ConformalScores, conformal_scores
from ._held_out import N_DEPTHS, HeldOutScores, fit_label_profiles, max_network_depth, score_held_out
from ._novelty_reference import NoveltyReference, build_novelty_reference

logger = logging.getLogger(__name__)

# Number of parts of the held-out cells. Each part is pooled with weights that were fitted to the other parts, because
# weights make the cells that they were fitted to overconfident (docs/decisions/0004). Not tuned.
N_PARTS = 5

# Maximum number of held-out cells that are scored, of each label its share, so that the time does not grow with the
# reference: 10 % of 20,000 cells. The fits have about ten parameters, and prediction sets use as many cells. Not tuned.
MAX_VALIDATION_CELLS = 2000


@dataclass(frozen=True)
class PosthocFit:
    """Result of a post-hoc fit.

    Attributes
    ----------
    calibration
        The fitted calibration, on the CPU; the identity without held-out cells.
    pool_weights
        Log pooling weights of network and count likelihood, shape (2, 2); see
        :class:`hrca.module._count_likelihood.CountLikelihood`. None without a count likelihood.
    conformal_scores
        Scores of the held-out cells for prediction sets; None without held-out cells.
    """

    calibration: Calibration
    pool_weights: torch.Tensor | None
    conformal_scores: ConformalScores | None


@torch.no_grad()
def fit_posthoc(
    module: HRCAModule,
    reference: ReferenceCells,
    split: Split,
    fold_scores: Sequence[HeldOutScores] | None = None,
) -> PosthocFit:
    """Fit pooling weights, calibration and conformal scores to held-out cells, and label profiles to all cells.

    Without held-out cells, the pooling weights are their prior, and the calibration is the identity.

    Parameters
    ----------
    module
        The fine-tuned module. Its networks stay as they are. The count likelihood, if there is one, and the calibration
        are written.
    reference
        Counts and label codes of the reference.
    split
        Training and validation cells of the networks.
    fold_scores
        Held-out scores of fold models. They replace those of the validation cells, and the calibration gets terms for
        each label. None: no cross-fitting.

    Returns
    -------
    The parameters that were written to the module, and the conformal scores.
    """
    module.eval()
    train, validation = (np.intersect1d(cells, reference.labelled) for cells in (split.train, split.validation))
    if fold_scores is None:
        validation = sample_stratified(validation, reference.codes[validation], n_drawn=MAX_VALIDATION_CELLS)
        scores = score_held_out(module, reference, train, validation)
        parts = [validation[i::N_PARTS] for i in range(min(N_PARTS, len(validation)))]
    else:
        scores, parts = HeldOutScores.concat(fold_scores), [np.unique(fold.cells) for fold in fold_scores]
    calibration, conformal = _fit_calibration(reference.n_labels, scores, parts, by_label=fold_scores is not None)
    module.calibration.load_state_dict(calibration.state_dict())
    pool_weights, count_likelihood = None, module.count_likelihood
    if count_likelihood is not None:
        pool_weights = _fit_pool_weights(scores)
        count_likelihood.pool_weights.copy_(pool_weights)
        at_reference_depth = pool_weights[0].exp().tolist()
        logger.debug(
            "Pooling weights of network and count likelihood at a depth of %d: %s.", REFERENCE_DEPTH, at_reference_depth
        )
        max_depth = (
            float(count_likelihood.max_depth)
            if fold_scores is None
            else max_network_depth(module, reference.counts, train)
        )
        # only now do the held-out cells contribute to the profiles
        fit_label_profiles(module, count_likelihood, reference, reference.labelled, max_depth)
    return PosthocFit(calibration, pool_weights, conformal)


def novelty_reference_for(module: HRCAModule, reference: ReferenceCells) -> NoveltyReference:
    """Build the reference that the novelty of query cells is computed from.

    Parameters
    ----------
    module
        The fine-tuned module.
    reference
        Counts and label codes of the reference.

    Returns
    -------
    Summed counts of each label, and a sample of the labelled cells.
    """
    max_depth = max_network_depth(module, reference.counts, reference.labelled)
    return build_novelty_reference(reference.counts, reference.codes, reference.n_labels, max_depth)


def _fit_pool_weights(scores: HeldOutScores) -> torch.Tensor:
    branches, codes = scores.scores_for_weights, torch.from_numpy(scores.codes).long()
    if branches is None or branches.log_likelihood is None or not len(codes):
        return prior_pool_weights()
    return fit_pool_weights(branches.network, branches.log_likelihood, branches.depth, codes, scores.n_cells)


def _fit_calibration(
    n_labels: int, scores: HeldOutScores, parts: list[np.ndarray], *, by_label: bool
) -> tuple[Calibration, ConformalScores | None]:
    """Fit the calibration to held-out cells, each pooled with weights that were fitted to the other parts.

    Parameters
    ----------
    n_labels
        Number of labels.
    scores
        Scores of the held-out cells.
    parts
        Indices of the cells of each part; together all held-out cells.
    by_label
        If True, the calibration has terms for each label.

    Returns
    -------
    The calibration and the conformal scores of the calibrated probabilities. Without held-out cells with counts: the
    identity and None.
    """
    calibration, branches = Calibration(n_labels), scores.scores_for_calibration
    logger.debug("Calibrating with %d held-out cells, each at %d depths.", scores.n_cells, N_DEPTHS)
    has_counts = (branches.depth > 0).numpy()
    if not has_counts.any():
        return calibration, None
    log_probabilities = torch.empty_like(branches.network)
    for part in parts:
        rows = np.isin(scores.cells, part)
        log_probabilities[rows] = branches.subset(rows).pool(_fit_pool_weights(scores.subset(~rows)))
    log_probabilities, depth = log_probabilities[has_counts], branches.depth[has_counts]
    codes, cells = scores.codes[has_counts], scores.cells[has_counts]
    n_cells = len(np.unique(cells))
    calibration.fit(log_probabilities, depth, torch.from_numpy(codes).long(), n_cells, by_label=by_label)
    _log_calibration(calibration, n_cells)
    probabilities = calibration(log_probabilities, depth).exp().numpy()
    return calibration, conformal_scores(probabilities, depth.numpy(), codes, cells)


def _log_calibration(calibration: Calibration, n_cells: int) -> None:
    logger.debug(
        "Calibrated with %d cells: temperature %.2f at a depth of %d, outlier rate %.3f, label biases %.2f to %.2f.",
        n_cells,
        calibration.temperature_coef[0].exp(),
        REFERENCE_DEPTH,
        calibration.outlier_rate,
        calibration.dirichlet_bias[0].min(),
        calibration.dirichlet_bias[0].max(),
    )
