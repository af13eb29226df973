"""What is learned once the networks are: from held-out cells how far to trust what, and what novelty is measured by."""

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ._calibration import Calibration
from ._counts import dense, weighted_depth
from ._evidence import USUAL_DEPTH, class_profiles, fit_weights, prior_weights
from ._inference import Heard, hear_cells
from ._module import HRCAModule
from ._novelty import keep_cells
from ._platform import normalize
from ._sets import held_out_scores
from ._transforms import THINNEST_DEPTH, corrupt

logger = logging.getLogger(__name__)

# A query's cell with more counts than this share of the reference's cells is judged by thinned draws of it; not tuned.
DEEPEST_QUANTILE = 0.9
# Depths at which each held-out cell stands when the weights of network and counts are learned: its own, and thinned;
# enough that a line over log depth is well determined.
HELD_OUT_DRAWS = 10
HELD_OUT_SEED = 0
HELD_OUT_BATCH = 512
# Confidence is asked of cells with fewer counts than training goes down to, too (docs/decisions/0004).
FEWEST_COUNTS = 3
# Parts of the held-out cells, each of which is calibrated by weights that the others taught: weights claim too much of
# the cells that taught them (docs/decisions/0004). Not tuned.
N_PARTS = 5


@dataclass(frozen=True)
class Testimony:
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
    to_weigh: Heard | None
    to_calibrate: Heard

    def take(self, rows: np.ndarray) -> "Testimony":
        """Return some rows, given by a mask."""
        to_weigh = None if self.to_weigh is None else self.to_weigh.take(rows)
        return Testimony(self.cells[rows], self.codes[rows], to_weigh, self.to_calibrate.take(rows))

    @staticmethod
    def join(several: "Sequence[Testimony]") -> "Testimony":
        """Put the rows of several one after the other."""
        cells, codes = (np.concatenate([getattr(said, name) for said in several]) for name in ("cells", "codes"))
        weighed = [said.to_weigh for said in several]
        to_weigh = None if weighed[0] is None else Heard.join(weighed)
        return Testimony(cells, codes, to_weigh, Heard.join([said.to_calibrate for said in several]))


@torch.no_grad()
def testify(module: HRCAModule, counts, codes: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> Testimony:
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
    if module.evidence is not None and len(held_out):
        to_weigh = _hear_as_trained(module, counts[held_out])
    return Testimony(cells, codes[cells], to_weigh, _hear_as_asked(module, counts[held_out]))


@torch.no_grad()
def fit_judgement(
    module: HRCAModule, counts, codes: np.ndarray, split: dict, testimonies: Sequence[Testimony] | None = None
) -> dict[str, np.ndarray] | None:
    """Fill the count branch, if there is one, and the calibration.

    The weights of network and counts at each depth, and then the calibration, are learned on cells that neither was
    trained on. Without any they stay as they are in advance. What is calibrated of a cell was weighed as the other
    cells teach. The profiles are then those of all labelled cells.

    Parameters
    ----------
    module
        The fine-tuned module; its networks stay as they are.
    counts
        As in :func:`testify`.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    split
        Indices of the ``train`` and ``validation`` cells.
    testimonies
        Of modules that were trained like this one, each without the cells that it speaks of. None: the module speaks
        of its own validation cells.

    Returns
    -------
    What sets of labels need of the held-out cells, see :func:`hrca._sets.held_out_scores`; None without any.
    """
    module.eval()
    n_labels = module.se_classifier.output.out_features
    train, held_out = (cells[codes[cells] < n_labels] for cells in (split["train"], split["validation"]))
    if testimonies is None:
        said = testify(module, counts, codes, train, held_out)
        parts = [held_out[i::N_PARTS] for i in range(min(N_PARTS, len(held_out)))]
    else:
        said, parts = Testimony.join(testimonies), [np.unique(testimony.cells) for testimony in testimonies]
    scores = _calibrate(module, said, parts, by_label=testimonies is not None)
    if module.evidence is not None:
        weights = _fit_weights(said)
        module.evidence.weights.copy_(weights)
        logger.info("Weights of network and counts at %d counts a cell: %s.", USUAL_DEPTH, weights[0].exp().tolist())
        # only now the profiles know the held-out cells
        new_depth_of = None if testimonies is None else train
        _fit_profiles(module, counts, codes, np.flatnonzero(codes < n_labels), new_depth_of=new_depth_of)
    return scores


def keep_reference(module: HRCAModule, counts, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the novelty of query cells is measured by; see :func:`hrca._novelty.keep_cells`.

    Parameters
    ----------
    module
        The fine-tuned module.
    counts
        As in :func:`testify`.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without.
    """
    n_labels = module.se_classifier.output.out_features
    return keep_cells(counts, codes, n_labels, _deepest(module, counts, np.flatnonzero(codes < n_labels)))


def _deepest(module: HRCAModule, counts, cells: np.ndarray) -> float:
    depth = weighted_depth(counts, module.genes_used.cpu().numpy())[cells]
    return max(float(np.quantile(depth, DEEPEST_QUANTILE)), 1.0)


def _fit_profiles(
    module: HRCAModule, counts, codes: np.ndarray, cells: np.ndarray, *, new_depth_of: np.ndarray | None
) -> None:
    """Learn the profiles of some cells; the depth of the deepest is that of others, or stays as it is."""
    if module.evidence is None:
        return
    n_labels, used = module.se_classifier.output.out_features, module.genes_used.cpu().numpy()
    codes_known = np.full_like(codes, n_labels)
    codes_known[cells] = codes[cells]
    deepest = float(module.evidence.deepest) if new_depth_of is None else _deepest(module, counts, new_depth_of)
    module.evidence.fit_profiles(class_profiles(counts, codes_known, n_labels), used, deepest)


def _thinned_batches(module: HRCAModule, counts, thinnest: int) -> Iterator[torch.Tensor]:
    """Go through held-out cells as often as there are draws: as they are first, then thinned, down to `thinnest`."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    quantiles, used = module.matched_depths, module.genes_used.cpu()
    quantiles = None if quantiles is None else quantiles.cpu()
    for draw in range(HELD_OUT_DRAWS):
        for start in range(0, counts.shape[0], HELD_OUT_BATCH):
            batch = torch.from_numpy(dense(counts[start : start + HELD_OUT_BATCH]).astype(np.float32, copy=False))
            yield corrupt(batch * used, "thin" if draw else "none", generator, quantiles, thinnest)


def _hear_as_trained(module: HRCAModule, counts) -> Heard:
    evidence, used = module.evidence, module.genes_used.cpu()
    informative = evidence.informative.cpu()
    network, log_likelihood, depths = [], [], []
    for batch in _thinned_batches(module, counts, THINNEST_DEPTH):
        network.append(F.log_softmax(module.classify(batch).float(), dim=1).cpu())
        log_likelihood.append(evidence(batch.to(module.device)).cpu())
        depths.append(torch.stack([batch.sum(dim=1), batch @ informative], dim=1))
    network, log_likelihood, depth = (torch.cat(parts) for parts in (network, log_likelihood, depths))
    log_likelihood = normalize(copy.deepcopy(evidence).cpu(), log_likelihood, depth, used)
    return Heard(network, log_likelihood, depth[:, 0])


def _hear_as_asked(module: HRCAModule, counts) -> Heard:
    def numbered() -> Iterator[tuple[slice, np.ndarray]]:
        start = 0
        for batch in _thinned_batches(module, counts, FEWEST_COUNTS):
            yield slice(start, start + len(batch)), batch.numpy()
            start += len(batch)

    n_obs, every_gene = HELD_OUT_DRAWS * counts.shape[0], np.ones(counts.shape[1], dtype=np.float32)
    return hear_cells(module, numbered(), n_obs, every_gene, match_platform=False)


def _fit_weights(said: Testimony) -> torch.Tensor:
    """Learn the weights of network and counts."""
    if said.to_weigh is None or not len(said.cells):
        return prior_weights()
    heard, codes = said.to_weigh, torch.from_numpy(said.codes).long()
    return fit_weights(heard.network, heard.log_likelihood, heard.depth, codes, len(np.unique(said.cells)))


def _calibrate(
    module: HRCAModule, said: Testimony, parts: list[np.ndarray], *, by_label: bool
) -> dict[str, np.ndarray] | None:
    """Fit the calibration to cells each of which is weighed as those of the other parts teach."""
    calibration, heard = Calibration(module.se_classifier.output.out_features), said.to_calibrate
    logger.info("Calibrating by %d held-out cells, each at %d depths.", len(np.unique(said.cells)), HELD_OUT_DRAWS)
    known = (heard.depth > 0).numpy()
    if not known.any():
        module.calibration.load_state_dict(calibration.state_dict())
        return None
    log_probabilities = torch.empty_like(heard.network)
    for part in parts:
        rows = np.isin(said.cells, part)
        log_probabilities[rows] = heard.take(rows).weigh(_fit_weights(said.take(~rows)))
    log_probabilities, depth = log_probabilities[known], heard.depth[known]
    codes, cells = said.codes[known], said.cells[known]
    n_cells = len(np.unique(cells))
    calibration.fit(log_probabilities, depth, torch.from_numpy(codes).long(), n_cells, by_label=by_label)
    module.calibration.load_state_dict(calibration.state_dict())
    temperature, share = calibration.log_temperature[0].exp(), calibration.stray_share
    logger.info(
        "Calibration by %d cells: temperature at %d counts %.2f, stray labels %.3f, bias of labels %.2f to %.2f.",
        *(n_cells, USUAL_DEPTH, temperature, share, calibration.label_bias[0].min(), calibration.label_bias[0].max()),
    )
    return held_out_scores(calibration(log_probabilities, depth).exp().numpy(), depth.numpy(), codes, cells)
