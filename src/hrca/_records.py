"""What `predict` wrote: its record in uns, its labels as they are shown, and the cells that it rejects."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

# Novel probability from which on a cell is more likely of none of the labels than of any.
MIN_NOVEL_PROBABILITY = 0.5

# Label of cells without a known type where the record of the prediction is lost, as by default in `setup_anndata`.
UNLABELED = "Unknown"


def prediction_record(uns: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the record of a prediction; empty without one, or if the entry is not of HRCA.

    Parameters
    ----------
    uns
        The uns of the annotated cells.
    key
        The `key_added` of the prediction.
    """
    record = uns.get(key, {})
    return record if isinstance(record, Mapping) else {}


def shown_labels(obs: pd.DataFrame, uns: Mapping[str, Any], key: str) -> pd.Series:
    """Return the labels as pictures and tables of groups show them.

    A cell that is probably of none of the labels keeps its most probable label in obs. A picture of the labels alone
    has nothing else that could say so, and shows it as a cell without a known type.

    Parameters
    ----------
    obs, uns
        Those of the annotated cells.
    key
        The `key_added` of the prediction.

    Returns
    -------
    The label of each cell, or "Unknown", or the `unlabeled_category` of the model, with a novel probability of at least
    .5. Shape (n_obs,), categorical with the name of each label as text. The labels that the prediction could have given
    are categories also if no cell has them, so that a label has one color in all samples.
    """
    labels = obs[key].astype("category")
    names = [str(name) for name in labels.cat.categories]
    labels = labels.cat.rename_categories(names)
    record = prediction_record(uns, key)
    unlabeled = str(record.get("unlabeled_category", UNLABELED))
    possible = [str(name) for name in record.get("labels", ())]
    # at another level of the hierarchy, the labels are others
    if {*names} <= {*possible, unlabeled}:
        labels = labels.cat.set_categories([*possible, *({*names} - {*possible})])
    if f"{key}_novel_probability" not in obs:
        return labels
    is_novel = labels.notna() & (obs[f"{key}_novel_probability"] >= MIN_NOVEL_PROBABILITY)
    if is_novel.any() and unlabeled not in labels.cat.categories:
        labels = labels.cat.add_categories([unlabeled])
    return labels.mask(is_novel, unlabeled)


def is_rejected(novelty: np.ndarray, novel_probability: np.ndarray | None, novelty_fpr: float) -> np.ndarray:
    """Return True for each cell that `predict(novelty_fpr=...)` rejects: by its novelty, or a novel probability of .5.

    Parameters
    ----------
    novelty
        Novelty of each cell, shape (n_obs,); NaN for a cell without counts.
    novel_probability
        Probability that it is of none of the labels, shape (n_obs,); NaN for a cell without counts. None: not
        estimated.
    novelty_fpr
        False positive rate of the novelty.

    Returns
    -------
    Boolean, shape (n_obs,); False for a cell without counts.
    """
    # a comparison with NaN is False
    rejected = np.asarray(novelty) >= 1 - novelty_fpr
    if novel_probability is None:
        return rejected
    return rejected | (np.asarray(novel_probability) >= MIN_NOVEL_PROBABILITY)
