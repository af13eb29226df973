"""Labels, confidences and prediction sets from the probabilities of a model."""

import numpy as np
import pandas as pd

from hrca._warnings import warn_user
from hrca.data._name_hash import uniform_from_names
from hrca.prediction._probabilities import MIN_NOVEL_PROBABILITY, CellProbabilities
from hrca.uncertainty._conformal import ConformalScores, prediction_sets

from ._options import LabelSpace, PredictOptions
from ._result import PredictionResult

# A warning is given if more than this multiple of the expected fraction, `novelty_fpr`, is rejected.
REJECTED_WARNING_FACTOR = 3


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
    nodes, confidence = tree.back_off(probabilities, options.min_confidence)
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
    if options.novelty_fpr is not None and novelty is not None:
        # a comparison with NaN is False: a cell without counts is not rejected
        is_rejected = np.asarray(novelty >= 1 - options.novelty_fpr)
        labels[is_rejected] = label_space.unlabeled_category
        if not cell_probabilities.has_clusters:
            # with clusters, :func:`hrca.annotation._prediction_warnings.prediction_warnings` names the novel cells
            _warn_if_many_rejected(is_rejected, options.novelty_fpr, label_space.unlabeled_category)
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
    novel_probability = cell_probabilities.novel_probability if cell_probabilities.has_clusters else None
    return PredictionResult(
        labels, confidence, probabilities.set_axis(obs_names), novelty, sets, novel_probability=novel_probability
    )


def _warn_if_many_rejected(is_rejected: np.ndarray, novelty_fpr: float, unlabeled_category: str) -> None:
    rejected_fraction = is_rejected.mean() if len(is_rejected) else 0.0
    if rejected_fraction > REJECTED_WARNING_FACTOR * novelty_fpr:
        warn_user(
            f"{rejected_fraction:.0%} of the cells are rejected and labelled {unlabeled_category!r}, where "
            f"{novelty_fpr:.0%} are expected among cells like the reference's. Either the query has types that the "
            "reference lacks, or its platform differs, and cells of known types look novel as well. Compare "
            "`obs['hrca_novelty']` between the predicted labels.",
        )
