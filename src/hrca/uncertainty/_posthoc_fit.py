"""Post-hoc fitting on held-out cells."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from hrca.module._calibration import Calibration
from hrca.module._count_likelihood import REFERENCE_DEPTH, fit_pool_weights, prior_pool_weights
from hrca.module._module import HRCAModule

from hrca.train._splitting import Split

from ._conformal import ConformalScores, conformal_scores
from ._held_out import HELD_OUT_DRAWS, HeldOutScores, _deepest, _fit_profiles, score_held_out
from ._novelty_reference import NoveltyReference, build_novelty_reference

logger = logging.getLogger(__name__)

# Parts of the held-out cells, each of which is calibrated by weights that the others taught: weights claim too much of
# the cells that taught them (docs/decisions/0004). Not tuned.
N_PARTS = 5


@torch.no_grad()
def fit_posthoc(
    module: HRCAModule, counts, codes: np.ndarray, split: Split, testimonies: Sequence[HeldOutScores] | None = None
) -> ConformalScores | None:
    """Fill the count branch, if there is one, and the calibration.

    The weights of network and counts at each depth, and then the calibration, are learned on cells that neither was
    trained on. Without any they stay as they are in advance. What is calibrated of a cell was weighed as the other
    cells teach. The profiles are then those of all labelled cells.

    Parameters
    ----------
    module
        The fine-tuned module; its networks stay as they are.
    counts
        As in :func:`score_held_out`.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    split
        Indices of the ``train`` and ``validation`` cells.
    testimonies
        Of modules that were trained like this one, each without the cells that it speaks of. None: the module speaks
        of its own validation cells.

    Returns
    -------
    What sets of labels need of the held-out cells, see :func:`hrca.uncertainty._conformal.conformal_scores`; None without any.
    """
    module.eval()
    n_labels = module.n_labels
    train, held_out = (cells[codes[cells] < n_labels] for cells in (split.train, split.validation))
    if testimonies is None:
        said = score_held_out(module, counts, codes, train, held_out)
        parts = [held_out[i::N_PARTS] for i in range(min(N_PARTS, len(held_out)))]
    else:
        said, parts = HeldOutScores.concat(testimonies), [np.unique(testimony.cells) for testimony in testimonies]
    scores = _calibrate(module, said, parts, by_label=testimonies is not None)
    if module.count_likelihood is not None:
        weights = _fit_weights(said)
        module.count_likelihood.pool_weights.copy_(weights)
        logger.info(
            "Weights of network and counts at %d counts a cell: %s.", REFERENCE_DEPTH, weights[0].exp().tolist()
        )
        # only now the profiles know the held-out cells
        new_depth_of = None if testimonies is None else train
        _fit_profiles(module, counts, codes, np.flatnonzero(codes < n_labels), new_depth_of=new_depth_of)
    return scores


def novelty_reference_for(module: HRCAModule, counts, codes: np.ndarray) -> NoveltyReference:
    """Return the reference that the novelty of query cells is measured against.

    Parameters
    ----------
    module
        The fine-tuned module.
    counts
        As in :func:`score_held_out`.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.

    Returns
    -------
    Counts of each label, and a sample of the labelled cells.
    """
    n_labels = module.n_labels
    return build_novelty_reference(counts, codes, n_labels, _deepest(module, counts, np.flatnonzero(codes < n_labels)))


def _fit_weights(said: HeldOutScores) -> torch.Tensor:
    """Learn the weights of network and counts."""
    if said.to_weigh is None or not len(said.cells):
        return prior_pool_weights()
    heard, codes = said.to_weigh, torch.from_numpy(said.codes).long()
    return fit_pool_weights(heard.network, heard.log_likelihood, heard.depth, codes, len(np.unique(said.cells)))


def _calibrate(
    module: HRCAModule, said: HeldOutScores, parts: list[np.ndarray], *, by_label: bool
) -> ConformalScores | None:
    """Fit the calibration to cells each of which is weighed as those of the other parts teach."""
    calibration, heard = Calibration(module.n_labels), said.to_calibrate
    logger.info("Calibrating by %d held-out cells, each at %d depths.", len(np.unique(said.cells)), HELD_OUT_DRAWS)
    known = (heard.depth > 0).numpy()
    if not known.any():
        module.calibration.load_state_dict(calibration.state_dict())
        return None
    log_probabilities = torch.empty_like(heard.network)
    for part in parts:
        rows = np.isin(said.cells, part)
        log_probabilities[rows] = heard.subset(rows).pool(_fit_weights(said.subset(~rows)))
    log_probabilities, depth = log_probabilities[known], heard.depth[known]
    codes, cells = said.codes[known], said.cells[known]
    n_cells = len(np.unique(cells))
    calibration.fit(log_probabilities, depth, torch.from_numpy(codes).long(), n_cells, by_label=by_label)
    module.calibration.load_state_dict(calibration.state_dict())
    temperature, share = calibration.temperature_coef[0].exp(), calibration.outlier_rate
    logger.info(
        "Calibration by %d cells: temperature at %d counts %.2f, stray labels %.3f, bias of labels %.2f to %.2f.",
        *(
            n_cells,
            REFERENCE_DEPTH,
            temperature,
            share,
            calibration.dirichlet_bias[0].min(),
            calibration.dirichlet_bias[0].max(),
        ),
    )
    return conformal_scores(calibration(log_probabilities, depth).exp().numpy(), depth.numpy(), codes, cells)
