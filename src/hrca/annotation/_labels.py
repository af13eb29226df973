"""Labels, confidences and prediction sets from the probabilities of a model."""

import numpy as np
import pandas as pd

from hrca._blocks import BLOCK_CELLS, row_blocks
from hrca._records import MIN_NOVEL_PROBABILITY, is_rejected
from hrca.data._name_hash import uniform_from_names
from hrca.prediction._probabilities import CellProbabilities
from hrca.uncertainty._conformal import ConformalScores, prediction_sets

from ._options import LabelSpace, PredictOptions
from ._result import PredictionResult


def most_likely_labels(
    label_space: LabelSpace, cell_probabilities: CellProbabilities, options: PredictOptions | None = None
) -> tuple[pd.Categorical, np.ndarray, pd.DataFrame]:
    """Label each cell with its most probable label, or with the finest ancestor that is probable enough.

    Parameters
    ----------
    label_space
        The labels that the model can return.
    cell_probabilities
        Probabilities of the labels in each cell.
    options
        Options of the prediction, of which `level` and `min_confidence` are used; None: the labels themselves, at any
        probability.

    Returns
    -------
    Label of each cell, shape (n_obs,), its probability, shape (n_obs,), float32, and the probabilities of all labels of
    the level, shape (n_obs, n_labels of the level). The last category of the labels is the unlabelled category.
    """
    options = options or PredictOptions()
    tree, probabilities = label_space.tree, cell_probabilities.probabilities
    if options.level is not None:
        tree, probabilities = tree.at_level(probabilities, options.level)
    nodes, confidence = np.zeros(len(probabilities), dtype=np.int64), np.zeros(len(probabilities), dtype=np.float32)
    for rows in row_blocks(len(probabilities), BLOCK_CELLS):
        nodes[rows], confidence[rows] = tree.back_off(probabilities[rows], options.min_confidence)
    possible = tree.nodes if options.min_confidence else tree.labels
    categories: pd.Index = pd.Index([*possible, label_space.unlabeled_category])
    is_labelled = cell_probabilities.has_counts & (nodes >= 0)
    codes = np.where(is_labelled, nodes, len(categories) - 1).astype(np.int64)
    labels = pd.Categorical.from_codes(codes, categories=categories)
    return labels, confidence, pd.DataFrame(probabilities, columns=pd.Index(tree.labels))


def assemble_result(
    label_space: LabelSpace,
    cell_probabilities: CellProbabilities,
    obs_names: pd.Index,
    options: PredictOptions,
    *,
    novelty: np.ndarray | None,
    conformal_scores: ConformalScores | None,
) -> PredictionResult:
    """Assemble labels, confidences, probabilities, novelty and prediction sets of a query.

    Parameters
    ----------
    label_space
        The labels that the model can return.
    cell_probabilities
        Probabilities of the labels in each cell.
    obs_names
        Names of the cells, shape (n_obs,).
    options
        Options of the prediction.
    novelty
        Novelty of each cell, 0 to 1, shape (n_obs,), NaN for a cell without counts. None: it was not measured;
        `options.novelty_fpr` needs it.
    conformal_scores
        Scores of held-out cells. None: the model has none; `options.coverage` needs them.

    Returns
    -------
    The result, its cells in the order of `obs_names`.
    """
    labels, confidence, probabilities = most_likely_labels(label_space, cell_probabilities, options)
    is_estimated = cell_probabilities.has_counts & cell_probabilities.has_clusters
    novel_probability = np.where(is_estimated, cell_probabilities.novel_probability, np.float32(np.nan))
    if options.novelty_fpr is not None and novelty is not None:
        labels[is_rejected(novelty, novel_probability, options.novelty_fpr)] = label_space.unlabeled_category
    sets = None
    if options.coverage is not None and conformal_scores is not None:
        is_in_set = prediction_sets(
            conformal_scores,
            cell_probabilities.known_probabilities,
            cell_probabilities.depth,
            uniform_from_names(list(obs_names)),
            coverage=options.coverage,
            class_conditional=options.class_conditional,
            reweight_to_query=options.reweight_to_query,
        )
        # a cell with a novel probability of at least .5 has an empty set
        is_in_set &= (cell_probabilities.novel_probability < MIN_NOVEL_PROBABILITY)[:, None]
        sets = pd.DataFrame(is_in_set, index=obs_names, columns=pd.Index(label_space.labels))
    return PredictionResult(
        labels, confidence, probabilities.set_axis(obs_names), novelty, sets, novel_probability=novel_probability
    )
