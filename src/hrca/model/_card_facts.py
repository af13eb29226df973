"""The facts on the card of a model: numbers that the model has already, so that saving takes no time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi import REGISTRY_KEYS
from sklearn.metrics import precision_recall_fscore_support

from hrca.annotation._label_pairs import divergences, normalize_log_profiles
from hrca.annotation._options import LabelSpace
from hrca.annotation._prediction_warnings import MIN_EXPECTED_LOG_RATIO
from hrca.data._alignment import check_shared
from hrca.data._gene_lookup import lookup_genes
from hrca.metrics import annotation_scores, calibration_table, depth_bins
from hrca.uncertainty._conformal import ConformalScores

from ._evaluation import evaluation_scores

if TYPE_CHECKING:
    from ._base import HRCABase

# Facts that a user may state about a model, by the name of the argument.
STATED = ("data", "data_license", "license", "species", "tissue", "description")

# Counts of a sparse spatial cell, at which labels are compared. Of a matched query, its median takes their place.
CARD_DEPTH = 100

# With more labels, their pairs are not compared: with this number and 20,000 genes, that takes a second.
MAX_COMPARED_LABELS = 500

# Maximum number of pairs of labels in each table, the number of pairs where none needs more counts than a cell has, and
# the minimum fraction of a label's cells of a confusion that is listed.
N_PAIRS, N_CLOSEST_PAIRS, MIN_CONFUSED_FRACTION = 20, 3, 0.01


@dataclass(frozen=True)
class HeldOutTables:
    """Scores of held-out cells. Each cell was scored at its own depth and at nine thinned depths.

    Attributes
    ----------
    overall
        Scores at the cells' own depths, see :meth:`hrca.HRCA.evaluate`.
    by_label
        At their own depths, of each label: ``n_held_out``, ``precision``, ``recall``, ``f1``, and of the cells that
        are predicted to have it ``confidence`` and ``calibration_error``.
    by_depth
        At all depths, of each bin: ``n_obs``, ``accuracy``, ``macro_f1``, ``confidence``, ``calibration_error``.
    by_label_and_depth
        At all depths, of each known label and bin: ``n_obs``, ``accuracy``, ``confidence``.
    confusions
        At all depths, the commonest pairs of ``label`` and ``predicted``: their ``fraction`` of the cells of the label.
    """

    overall: pd.Series
    by_label: pd.DataFrame
    by_depth: pd.DataFrame
    by_label_and_depth: pd.DataFrame
    confusions: pd.DataFrame


@dataclass(frozen=True)
class ClosePairs:
    """Pairs of labels that the genes tell apart badly.

    Attributes
    ----------
    pairs
        ``label``, ``other_label``, ``counts``: the counts of a cell on these genes that give an expected log-likelihood
        ratio of 1, and ``remaining``: the part of the divergence on all genes of the model. Those that need more than
        ``depth`` counts come first, or else the three that need most.
    n_pairs
        Number of pairs that need more than ``depth`` counts.
    depth
        Counts of a cell.
    n_genes
        Number of the genes.
    """

    pairs: pd.DataFrame
    n_pairs: int
    depth: float
    n_genes: int


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card.

    Attributes
    ----------
    front_matter
        Facts for programs: identity, sizes, labels, scores, versions, and what the user stated.
    held_out
        Scores of held-out cells; None without any.
    close_pairs
        Pairs of labels that the genes tell apart badly; None where labels are not compared.
    n_folds
        Number of folds of a cross-fitting; None without one.
    is_adapted
        Whether the model was trained further on a query after its scores were computed.
    """

    front_matter: dict[str, Any]
    held_out: HeldOutTables | None
    close_pairs: ClosePairs | None
    n_folds: int | None
    is_adapted: bool


def card_facts(model: "HRCABase", stated: Mapping[str, str], panel: Sequence[str] | None = None) -> CardFacts:
    """Return the facts of a model's card.

    Parameters
    ----------
    model
        The model, fine-tuned.
    stated
        What the user states, by the names in :data:`STATED`.
    panel
        Genes of a panel, over which labels are compared; None: the genes that the model uses.

    Raises
    ------
    ValueError
        If the model is not fine-tuned, or shares no gene with the panel.
    """
    if not model.is_finetuned_:
        raise ValueError(
            "A card describes a model that can predict, but this one is not trained on labels. `model.train()` trains "
            "it."
        )
    held_out = None
    if model.conformal_scores_ is not None:
        held_out = held_out_tables(model.conformal_scores_, model._label_space())
    split, counts = model.split_, model.label_counts_
    sizes = {
        "n_obs": None
        if split is None
        else int(model.registry["field_registries"][REGISTRY_KEYS.X_KEY]["summary_stats"]["n_cells"]),
        "n_train": None if split is None else len(split.train),
        # their counts are in the files, which matters to who may share them
        "n_stored_cells": 0 if model.novelty_reference_ is None else len(model.novelty_reference_.codes),
        "n_genes": len(model.gene_names),
        "labels": dict.fromkeys(model.labels) if counts is None else dict(zip(model.labels, counts, strict=True)),
    }
    front_matter = {
        "model_id": model.model_id_,
        **sizes,
        "n_parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "labels_key": model.registry["setup_args"].get("labels_key"),
        "scores": None if held_out is None else {name: float(value) for name, value in held_out.overall.items()},
        "versions": {name: version(name) for name in ("hrca", "scvi-tools", "torch", "anndata")},
        "stated": dict(stated),
    }
    return CardFacts(
        front_matter, held_out, close_pairs(model, panel), model.n_folds_, bool(model.module.is_adapted.item())
    )


def held_out_tables(scores: ConformalScores, label_space: LabelSpace) -> HeldOutTables:
    """Score the predictions of held-out cells.

    Parameters
    ----------
    scores
        The held-out cells; of each, the first row is at its own depth.
    label_space
        The labels.
    """
    labels = np.array(label_space.labels, dtype=object)
    codes = scores.probabilities.argmax(axis=1)
    cells = pd.DataFrame(
        {
            "label": labels[scores.codes],
            "predicted": labels[codes],
            # float32 probabilities may sum to a little more than 1
            "confidence": np.minimum(scores.probabilities.max(axis=1).astype(float), 1),
            "depth": depth_bins(scores.depth),
            "is_correct": codes == scores.codes,
        }
    )
    # the cells' own depths come first
    at_own_depth = cells.iloc[np.sort(np.unique(scores.cells, return_index=True)[1])]
    overall = evaluation_scores(
        at_own_depth["label"],
        at_own_depth["predicted"].to_numpy(),
        at_own_depth["confidence"].to_numpy(),
        np.full(len(at_own_depth), True),
        label_space,
    ).drop("n_unseen")
    by_depth = calibration_table(cells["label"], cells["predicted"], cells["confidence"], by=cells["depth"])
    groups = cells.groupby("depth", observed=True)
    by_depth["macro_f1"] = [annotation_scores(group["label"], group["predicted"])["macro_f1"] for _, group in groups]
    groups = cells.groupby(["label", "depth"], observed=True)
    by_both = groups.agg(n_obs=("label", "size"), accuracy=("is_correct", "mean"), confidence=("confidence", "mean"))
    return HeldOutTables(overall, _by_label(at_own_depth, labels), by_depth, by_both, _confusions(cells))


def _by_label(cells: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    precision, recall, f1, support = precision_recall_fscore_support(
        cells["label"], cells["predicted"], labels=labels, zero_division=np.nan
    )
    table = pd.DataFrame(
        {"n_held_out": support, "precision": precision, "recall": recall, "f1": f1}, index=pd.Index(labels)
    )
    calibration = calibration_table(cells["label"], cells["predicted"], cells["confidence"], by=cells["predicted"])
    return table.join(calibration[["confidence", "calibration_error"]])


def _confusions(cells: pd.DataFrame) -> pd.DataFrame:
    wrong = cells[~cells["is_correct"]].groupby(["label", "predicted"], sort=True).size()
    table = wrong.rename("n").reset_index()
    table["fraction"] = table["n"] / table["label"].map(cells["label"].value_counts())
    table = table[table["fraction"] >= MIN_CONFUSED_FRACTION]
    table = table.sort_values("fraction", ascending=False, kind="stable").head(N_PAIRS)
    return table[["label", "predicted", "fraction"]].reset_index(drop=True)


def close_pairs(model: "HRCABase", panel: Sequence[str] | None) -> ClosePairs | None:
    """Find the labels that the profiles of the count likelihood tell apart badly.

    Parameters
    ----------
    model
        The model.
    panel
        Genes of a panel; None: all genes that the model uses.

    Raises
    ------
    ValueError
        If the model shares no gene with the panel.
    """
    used = model.module.gene_mask.cpu().numpy().astype(bool)
    if panel is not None:
        names = pd.Index(list(panel)).astype(str)
        found = lookup_genes(names, model.gene_names, np.full(len(names), True), ignore_case=True)
        check_shared(int((found.present & used).sum()), names, model.gene_names)
        used = used & found.present
    count_likelihood, n_labels = model.module.count_likelihood, len(model.labels)
    if count_likelihood is None or not bool(count_likelihood.is_fitted) or not 1 < n_labels <= MAX_COMPARED_LABELS:
        return None
    log_profiles = count_likelihood.log_profiles.detach().cpu().double().numpy()
    everywhere = on_panel = divergences(normalize_log_profiles(log_profiles), slice(None))
    if not used.all():
        on_panel = divergences(normalize_log_profiles(log_profiles[:, used]), slice(None))
    ones, twos = np.triu_indices(n_labels, k=1)
    labels = np.array(model.labels, dtype=object)
    with np.errstate(divide="ignore", invalid="ignore"):
        counts, remaining = MIN_EXPECTED_LOG_RATIO / on_panel[ones, twos], on_panel[ones, twos] / everywhere[ones, twos]
    match = model.query_match_
    depth = CARD_DEPTH if match is None or panel is not None else match.query_depth
    table = pd.DataFrame(
        {"label": labels[ones], "other_label": labels[twos], "counts": counts, "remaining": remaining}
    ).sort_values("counts", ascending=False, kind="stable", ignore_index=True)
    n_pairs = int((table["counts"] > depth).sum())
    return ClosePairs(table.head(min(n_pairs, N_PAIRS) or N_CLOSEST_PAIRS), n_pairs, float(depth), int(used.sum()))
