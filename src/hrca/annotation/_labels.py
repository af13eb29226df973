"""From what was judged of a query to what a user asked for: level, back-off, novelty, sets."""

import warnings

import numpy as np
import pandas as pd

from hrca.prediction._forward import CellProbabilities
from hrca.uncertainty._conformal import ConformalScores, prediction_sets
from hrca.uncertainty._name_hash import uniform_from_names

from ._options import LabelSpace, PredictOptions
from ._result import PredictionResult

# Times the rejected cells that were asked for, from which a user is told.
REJECTED_WARNING_FACTOR = 3


def most_likely_labels(
    vocabulary: LabelSpace, judgement: CellProbabilities, asked: PredictOptions | None = None
) -> tuple[pd.Categorical, np.ndarray, pd.DataFrame]:
    """Answer each cell with the most probable label, or the finest ancestor that is likely enough.

    Parameters
    ----------
    vocabulary
        What the model can answer with.
    judgement
        What it said of the cells.
    asked
        Its `level` and `min_confidence` count here; None: labels, however unlikely.

    Returns
    -------
    Label and confidence of each cell, shape (n_obs,), and the probabilities of the level, n_obs x its labels.
    """
    asked = asked or PredictOptions()
    tree, probabilities = vocabulary.tree, judgement.probabilities
    if asked.level is not None:
        tree, probabilities = tree.at_level(probabilities, asked.level)
    answer, confidence = tree.back_off(probabilities, asked.min_confidence)
    nodes = [*(tree.nodes if asked.min_confidence else tree.labels), vocabulary.unlabeled_category]
    codes = np.where(judgement.has_counts & (answer >= 0), answer, len(nodes) - 1)
    labels = pd.Categorical.from_codes(codes.astype(int), categories=nodes)
    return labels, confidence, pd.DataFrame(probabilities, columns=pd.Index(tree.labels))


def assemble_result(
    vocabulary: LabelSpace,
    judgement: CellProbabilities,
    obs_names: pd.Index,
    asked: PredictOptions,
    *,
    novelty: np.ndarray | None,
    held_out: ConformalScores | None,
) -> PredictionResult:
    """Answer what was asked of each cell.

    Parameters
    ----------
    vocabulary
        What the model can answer with.
    judgement
        What it said of the cells.
    obs_names
        The cells' names.
    asked
        What the user asked for.
    novelty
        Novelty of each cell, shape (n_obs,); None where the model knows no reference cells.
    held_out
        From :func:`hrca.uncertainty._conformal.conformal_scores`; needed for sets.

    Returns
    -------
    Labels, confidences, probabilities, and sets where they were asked for, in the order of `obs_names`.
    """
    labels, confidence, probabilities = most_likely_labels(vocabulary, judgement, asked)
    if asked.novelty_fpr is not None:
        # NaN, a cell without counts, is not above anything
        rejected = novelty >= 1 - asked.novelty_fpr
        labels[rejected] = vocabulary.unlabeled_category
        _warn_of_many(rejected, asked.novelty_fpr, vocabulary.unlabeled_category)
    sets = None
    if asked.coverage is not None:
        chosen = prediction_sets(
            held_out,
            judgement.probabilities,
            judgement.depth,
            uniform_from_names(obs_names),
            coverage=asked.coverage,
            class_conditional=asked.class_conditional,
            reweight_to_query=asked.reweight_to_query,
        )
        sets = pd.DataFrame(chosen, index=obs_names, columns=pd.Index(vocabulary.labels))
    return PredictionResult(labels, confidence, probabilities.set_axis(obs_names), novelty, sets)


def _warn_of_many(rejected: np.ndarray, novelty_fpr: float, unlabeled_category: str) -> None:
    share = rejected.mean() if len(rejected) else 0.0
    if share > REJECTED_WARNING_FACTOR * novelty_fpr:
        warnings.warn(
            f"{share:.0%} of the cells are called {unlabeled_category!r}, where {novelty_fpr:.0%} of "
            "cells like the reference's would be: the query has other types, or is of another platform, where "
            "cells of known types are strange, too. `obs['hrca_novelty']` by predicted label tells which.",
            stacklevel=4,  # the line of the user who called predict
        )
