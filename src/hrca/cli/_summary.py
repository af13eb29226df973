"""Summaries of annotated files and of models, as plain values and as text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hrca._messages import counted
from hrca._records import MIN_NOVEL_PROBABILITY
from hrca.annotation._left_out_labels import left_out_sentence
from hrca.data._formats import file_format
from hrca.data._sources import open_file, read_uns
from hrca.model._model import HRCA

from ._inputs import open_cells
from ._prediction_flags import PREDICT_FLAGS
from ._shell_words import message_text, naming_file

# The file by which the folder of a model is known.
MODEL_FILE = "model.json"

# Number of labels in the text of an annotation: the most frequent ones. JSON has all.
N_SHOWN_LABELS = 12

# Entries of the provenance that are tables, or are shown elsewhere.
UNLISTED = ("warnings", "labels", "novel_groups", "left_out_labels")


def annotation_keys(path: Path) -> list[str]:
    """Return the keys of the annotations in a file.

    Parameters
    ----------
    path
        An h5ad file or the zarr folder of an AnnData.
    """
    uns = read_uns(path)
    return [name for name, entry in uns.items() if isinstance(entry, Mapping) and "hrca_version" in entry]


def summarize_annotation(path: Path, key: str, *, command: str = "") -> dict[str, Any]:
    """Summarize the annotation of the cells in a file.

    Parameters
    ----------
    path
        An h5ad file or the zarr folder of an AnnData.
    key
        Name of the annotation.
    command
        The command whose flags the warnings name, "hrca annotate"; "": the one that runs.

    Returns
    -------
    Numbers of cells, by label too, of those that were not predicted, and of those without a label, which have the
    unlabelled category; mean confidence; numbers of cells that are probably of none of the labels, and of those of them
    that have a label; the settings and the warnings of the prediction; and the table ``left_out_labels``, None if the
    prediction wrote none.
    """
    cells = open_file(path)
    if cells.file is not None:
        cells.file.close()
    obs, provenance = cells.obs, read_uns(path)[key]
    labels, confidence = obs[key].astype(str).where(obs[key].notna()), obs[f"{key}_confidence"]
    groups = confidence.groupby(labels, observed=True).agg(["size", "mean"]).sort_values("size", ascending=False)
    probability = obs.get(f"{key}_novel_probability", pd.Series(np.nan, index=obs.index))
    is_novel, is_unlabeled = probability >= MIN_NOVEL_PROBABILITY, labels == provenance["unlabeled_category"]
    with naming_file(path, PREDICT_FLAGS, command=command):
        warnings = [message_text(str(warning)) for warning in np.atleast_1d(provenance.get("warnings", []))]
    return {
        "key": key,
        "n_cells": len(obs),
        "n_not_predicted": int(labels.isna().sum()),
        "labels": {
            label: {"n_cells": int(row["size"]), "confidence": float(row["mean"])} for label, row in groups.iterrows()
        },
        "confidence": float(confidence.mean()),
        "n_unlabeled": int(is_unlabeled.sum()),
        "n_novel": None if probability.isna().all() else int(is_novel.sum()),
        "n_novel_with_label": int((is_novel & ~is_unlabeled).sum()),
        "settings": {name: value for name, value in provenance.items() if name not in UNLISTED},
        "warnings": warnings,
        "left_out_labels": provenance.get("left_out_labels"),
    }


def scores_text(scores: pd.Series) -> str:
    """Return the text of scores: a table with a row for each, and numbers of cells as whole numbers.

    Examples
    --------
    >>> print(scores_text(pd.Series({"accuracy": 0.84687, "n_obs": 5343.0})))
    score     value
    accuracy  0.8469
    n_obs     5,343
    """
    rows = {name: f"{int(value):,}" if str(name).startswith("n_") else f"{value:.4f}" for name, value in scores.items()}
    width = max(len("score"), *(len(str(name)) for name in rows))
    return "\n".join(f"{name!s:{width}}  {text}" for name, text in {"score": "value", **rows}.items())


def annotation_text(summary: Mapping[str, Any]) -> str:
    """Return the text of a summary: a line, and a table of the most frequent labels."""
    unlabeled = summary["settings"]["unlabeled_category"]
    n_labels = len(summary["labels"].keys() - {unlabeled})
    parts = [
        f"{counted(summary['n_cells'], 'cell')}, {counted(n_labels, 'label')} in obs[{summary['key']!r}], mean "
        f"confidence {summary['confidence']:.2f}",
        *_numbers_without_label(summary, unlabeled),
    ]
    if summary["n_not_predicted"]:
        parts.append(f"{counted(summary['n_not_predicted'], 'cell')} not predicted")
    shown = list(summary["labels"].items())[:N_SHOWN_LABELS]
    width = max(len(name) for name in ("label", *(label for label, _ in shown)))
    lines = ["; ".join(parts), f"  {'label':{width}}  {'cells':>9}  mean confidence"]
    lines += [f"  {label:{width}}  {row['n_cells']:>9,}  {row['confidence']:>15.2f}" for label, row in shown]
    n_more = n_labels - len(dict(shown).keys() - {unlabeled})
    return "\n".join([*lines, *([f"  and {counted(n_more, 'more label')}"] if n_more else [])])


def _numbers_without_label(summary: Mapping[str, Any], unlabeled: str) -> list[str]:
    """Return the numbers of cells that have no label, or should have none, in words."""
    n_unlabeled, n_novel, n_with_label = (summary[name] for name in ("n_unlabeled", "n_novel", "n_novel_with_label"))
    if n_novel is None:
        unknown = [f"{counted(n_unlabeled, 'cell')} with the label {unlabeled!r}"] if n_unlabeled else []
        return [*unknown, "not estimated which cells are of none of the labels"]
    if not n_unlabeled:
        return [f"{counted(n_novel, 'cell')} probably of none of the labels"]
    parts = [f"{counted(n_unlabeled, 'cell')} with the label {unlabeled!r}"]
    if n_novel > n_with_label:
        parts[0] += f", {n_novel - n_with_label:,} of them probably of none of the labels"
    if n_with_label:
        parts.append(f"{counted(n_with_label, 'cell')} with another label, probably of none of the labels")
    return parts


def summarize_model(model: HRCA) -> dict[str, Any]:
    """Summarize a model: labels, genes, sizes, training.

    Parameters
    ----------
    model
        The model.
    """
    setup = model.registry["setup_args"]
    arguments = model.init_params_["non_kwargs"]
    return {
        "model_id": model.model_id_,
        "is_finetuned": model.is_finetuned_,
        "n_genes": len(model.gene_names),
        "genes": list(model.gene_names),
        "labels": model.labels,
        "labels_hierarchy": model.labels_hierarchy,
        "unlabeled_category": model.unlabeled_category,
        "setup": {name: value for name, value in setup.items() if name not in ("gene_map", "labels_hierarchy")},
        "sizes": {name: value for name, value in arguments.items() if name not in ("registry", "adata")},
        "n_parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "n_folds": model.n_folds_,
        "has_prediction_sets": model.conformal_scores_ is not None,
    }


def model_text(summary: Mapping[str, Any]) -> str:
    """Return the text of a summary of a model."""
    state = f"model {summary['model_id']}" if summary["is_finetuned"] else "a model that is not trained on labels"
    sizes = ", ".join(f"{name} {value}" for name, value in summary["sizes"].items())
    return "\n".join(
        [
            f"{state}: {counted(summary['n_genes'], 'gene')}, {counted(len(summary['labels']), 'label')}, "
            f"{summary['n_parameters'] / 1e6:.1f} million parameters",
            f"  labels: {', '.join(summary['labels'])}",
            f"  genes: {', '.join(summary['genes'][:5])}, ...",
            f"  reference: {', '.join(f'{name}={value!r}' for name, value in summary['setup'].items())}",
            f"  sizes: {sizes}",
            f"  prediction sets: {'yes' if summary['has_prediction_sets'] else 'no'}; "
            f"folds: {summary['n_folds'] or 'none'}",
        ]
    )


def describe(path: Path, table: str | None) -> tuple[dict[str, Any], str]:
    """Summarize a model or an annotated file.

    Parameters
    ----------
    path
        The folder of the model, or the file.
    table
        Name of the table in a SpatialData; None: the only one.

    Returns
    -------
    The summary as plain values, and as text.

    Raises
    ------
    ValueError
        If it is neither, the table is missing or ambiguous, or the cells have no annotation.
    FileNotFoundError
        If there is no such file.
    """
    if (path / MODEL_FILE).is_file():
        summary = summarize_model(HRCA.load(path, adata=False, accelerator="cpu"))
        return {"model": summary}, model_text(summary)
    if path.is_dir():
        _check_cell_folder(path)
    cells = open_cells(path, table)
    keys = annotation_keys(cells) if isinstance(cells, Path) else []
    if not isinstance(cells, Path) or not keys:
        raise ValueError(
            f"{str(path)!r} must be the folder of a model, or have an annotation in uns, but has none. `hrca annotate` "
            "writes one."
        )
    summaries = [summarize_annotation(cells, key, command="hrca annotate") for key in keys]
    return {"annotations": summaries}, "\n".join(_provenance_text(summary) for summary in summaries)


def _check_cell_folder(path: Path) -> None:
    """Check that a folder without a model has a format of cells."""
    try:
        file_format(path)
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} must be the folder of a model or hold annotated cells, but it has no file {MODEL_FILE!r} "
            "and is not a zarr store."
        ) from error


def _provenance_text(summary: Mapping[str, Any]) -> str:
    settings = [f"  {name}: {value}" for name, value in summary["settings"].items()]
    sentences = [f"  warning: {text}" for text in summary["warnings"]]
    table = summary["left_out_labels"]
    if table is not None and (unnoticed := left_out_sentence(table)):
        sentences.append(f"  note: {message_text(unnoticed)}")
    return "\n".join([annotation_text(summary), *settings, *sentences])
