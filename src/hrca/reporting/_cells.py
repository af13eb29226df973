"""Tables of the annotated cells: summary, labels, confusions, novel cells, decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca import metrics
from hrca._messages import counted
from hrca._records import MIN_NOVEL_PROBABILITY, prediction_record
from hrca.model._evaluation import known_cells, unseen_warning
from hrca.pl._cells import counts_of
from hrca.pl._palette import is_no_label

# A label with less confidence is more likely wrong than right.
LOW_CONFIDENCE = 0.5

# Cells whose counts are read: for depths, groups of novel cells and a UMAP. More would not change the pictures.
MAX_SAMPLE = 5_000


@dataclass(frozen=True)
class AnnotatedCells:
    """The cells of a report, and the entries of their prediction.

    Attributes
    ----------
    adata
        The cells.
    key
        The `key_added` of the prediction.
    true_labels_key, sample_key
        Columns of obs with known labels and samples, or None.
    """

    adata: AnnData
    key: str
    true_labels_key: str | None = None
    sample_key: str | None = None

    @property
    def record(self) -> Mapping[str, Any]:
        """The record of the prediction in uns; empty without one."""
        return prediction_record(self.adata.uns, self.key)

    @cached_property
    def labels(self) -> pd.Series:
        """Predicted label of each cell, shape (n_obs,), without an index."""
        return self.adata.obs[self.key].astype(str).where(self.adata.obs[self.key].notna()).reset_index(drop=True)

    def column(self, ending: str) -> np.ndarray | None:
        """Return a column of numbers of the prediction, shape (n_obs,); None if it is not there."""
        name = f"{self.key}_{ending}"
        return self.adata.obs[name].to_numpy(dtype=float) if name in self.adata.obs else None

    @cached_property
    def is_novel(self) -> np.ndarray | None:
        """Whether a cell is probably of none of the labels, shape (n_obs,); None if this was not estimated."""
        probability = self.column("novel_probability")
        if probability is None or np.isnan(probability).all():
            return None
        return probability >= MIN_NOVEL_PROBABILITY

    @cached_property
    def sample_rows(self) -> np.ndarray:
        """Positions of at most MAX_SAMPLE cells, drawn at random."""
        n = min(MAX_SAMPLE, self.adata.n_obs)
        return np.sort(np.random.default_rng(0).choice(self.adata.n_obs, n, replace=False))

    @cached_property
    def gene_names(self) -> pd.Index:
        """Names of the query's genes, as the prediction read them."""
        return counts_of(self.adata, self.key)[1]

    @cached_property
    def sample_counts(self) -> Any:
        """Counts of the sampled cells, shape (n_sample, n_vars)."""
        return counts_of(self.adata, self.key)[0][self.sample_rows]

    @cached_property
    def median_depth(self) -> float:
        """Median of the counts per cell."""
        return float(np.median(np.asarray(self.sample_counts.sum(axis=1)).ravel()))

    @cached_property
    def true_labels(self) -> pd.Series | None:
        """Known label of each cell, shape (n_obs,); missing where there is none; None without known labels."""
        if self.true_labels_key is None:
            return None
        values = self.adata.obs[self.true_labels_key].reset_index(drop=True)
        texts = values.astype(str)
        return texts.where(values.notna() & ~texts.map(is_no_label) & (texts != "")).astype(object)

    @cached_property
    def model_labels(self) -> list[str]:
        """The labels that the prediction could give; without a record of it, all known and predicted ones."""
        if "labels" in self.record:
            return [str(label) for label in self.record["labels"]]
        columns = [self.labels] if self.true_labels is None else [self.labels, self.true_labels]
        return sorted(pd.concat(columns).dropna().unique())

    @cached_property
    def is_scored(self) -> np.ndarray | None:
        """Whether the model knows the known label of a cell, shape (n_obs,); None without known labels.

        Raises
        ------
        ValueError
            If the model knows no known label.
        """
        if self.true_labels is None:
            return None
        return known_cells(self.true_labels, self.model_labels, str(self.true_labels_key))

    @property
    def unseen_warning(self) -> str | None:
        """A sentence if many cells have a known label that the model does not know, else None."""
        if self.true_labels is None or self.is_scored is None:
            return None
        return unseen_warning(self.true_labels, self.is_scored, self.model_labels)

    @cached_property
    def known_cells(self) -> "KnownCells | None":
        """The cells with a predicted label and a known label that the model knows; None if there are none."""
        if self.true_labels is None or self.is_scored is None:
            return None
        rows = np.flatnonzero(self.is_scored & self.labels.notna().to_numpy())
        confidence = self.column("confidence")
        return (
            None
            if not len(rows)
            else KnownCells(
                self.true_labels.to_numpy(dtype=str, na_value="")[rows],
                self.labels.to_numpy(dtype=str)[rows],
                None if confidence is None else np.nan_to_num(confidence[rows]),
                rows,
            )
        )


@dataclass(frozen=True)
class KnownCells:
    """Cells with a known label.

    Attributes
    ----------
    true_labels, predicted
        Known and predicted label, shape (n_known,).
    confidence
        Confidence of the predicted label, shape (n_known,); None without one.
    rows
        Positions among all cells, shape (n_known,).
    """

    true_labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray | None
    rows: np.ndarray


def summary(cells: AnnotatedCells) -> list[tuple[str, str, str]]:
    """Return the numbers at the top of the report: name, value, explanation.

    Parameters
    ----------
    cells
        The cells.
    """
    n_obs, confidence = cells.adata.n_obs, cells.column("confidence")
    n_without = int((cells.labels.isna() | cells.labels.map(is_no_label)).sum())
    found = [
        ("Cells", f"{n_obs:,}", f"{cells.median_depth:,.0f} counts in the median cell"),
        ("Predicted labels", *_n_labels(cells)),
        ("Without a label", _percent(n_without / n_obs), counted(n_without, "cell")),
    ]
    if confidence is not None and np.isfinite(confidence).any():
        confidence = confidence[np.isfinite(confidence)]
        low = f"{_percent(float((confidence < LOW_CONFIDENCE).mean()))} of the predicted cells below .5"
        found.append(("Mean confidence", f"{np.mean(confidence):.2f}", low))
    found.append(_novel_cells(cells))
    if cells.known_cells is not None and cells.true_labels is not None and cells.is_scored is not None:
        scores = metrics.annotation_scores(cells.known_cells.true_labels, cells.known_cells.predicted)
        text = f"macro-F1 {scores['macro_f1']:.2f}, of {counted(len(cells.known_cells.rows), 'cell')}"
        n_unseen = int(cells.true_labels.notna().sum() - cells.is_scored.sum())
        text += (
            f"; not scored: {counted(n_unseen, 'cell')} with a label that the model does not know" if n_unseen else ""
        )
        found.append(("Correct labels", _percent(scores["accuracy"]), text))
    return found


def _novel_cells(cells: AnnotatedCells) -> tuple[str, str, str]:
    if cells.is_novel is None:
        return "Novel cells", "–", "not estimated which cells are of types that the reference lacks"
    n_novel = int(cells.is_novel.sum())
    text = f"{counted(n_novel, 'cell')} probably of types that the reference lacks"
    noticed = list(_noticed(cells).values()) if "left_out_labels" in cells.record else []
    if n_missed := noticed.count("no"):
        text += f"; HRCA would not notice the absence of {n_missed} of {counted(len(noticed), 'label')}"
    return "Novel cells", _percent(n_novel / cells.adata.n_obs), text


def _n_labels(cells: AnnotatedCells) -> tuple[str, str]:
    """Return how many labels the cells have, and of how many, in words."""
    given = set(cells.labels.dropna()[~cells.labels.dropna().map(is_no_label)])
    possible = {str(label) for label in cells.record.get("labels", ())}
    # at a level of a hierarchy, cells also have labels that the model does not give probabilities of
    if possible and given <= possible:
        return f"{len(given)} of {len(possible)}", "labels of the model that at least one cell has"
    return f"{len(given)}", "different labels of the cells"


def _noticed(cells: AnnotatedCells) -> dict[str, str]:
    """Return, by label, if HRCA would have noticed that the reference lacked it."""
    table = cells.record["left_out_labels"]
    is_noticed = np.asarray(table["novel_probability"], dtype=float) >= MIN_NOVEL_PROBABILITY
    return dict(zip(map(str, table["label"]), np.where(is_noticed, "yes", "no"), strict=True))


def label_table(cells: AnnotatedCells, label_counts: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Return a row for each label, the most frequent first, with texts for readers.

    Parameters
    ----------
    cells
        The cells.
    label_counts
        Number of cells of each label in the reference; None: not known.
    """
    table = pd.DataFrame({"label": cells.labels.fillna("not predicted")})
    columns = {"n": ("label", "size")}
    for ending in ("confidence", "set_size"):
        values = cells.column(ending)
        if values is not None:
            table[ending] = values
    table["low"] = table["confidence"] < LOW_CONFIDENCE if "confidence" in table else False
    table["novel"] = False if cells.is_novel is None else cells.is_novel
    columns |= {name: (name, "mean") for name in table.columns[1:]}
    grouped = table.groupby("label", observed=True).agg(**columns).sort_values("n", ascending=False, kind="stable")
    shown = pd.DataFrame({"Label": grouped.index, "Cells": grouped["n"].map("{:,}".format).to_numpy()})
    shown["Of all cells"] = (grouped["n"] / len(table)).map(_percent).to_numpy()
    if "confidence" in grouped:
        shown["Mean confidence"] = grouped["confidence"].map("{:.2f}".format).to_numpy()
        shown["Confidence below .5"] = grouped["low"].map(_percent).to_numpy()
    if cells.is_novel is not None:
        shown["Novel cells"] = grouped["novel"].map(_percent).to_numpy()
    if "set_size" in grouped:
        shown["Mean set size"] = grouped["set_size"].map("{:.1f}".format).to_numpy()
    if "left_out_labels" in cells.record:
        noticed = _noticed(cells)
        shown["Noticed if missing"] = [noticed.get(label, "–") for label in grouped.index]
    if label_counts is not None:
        n_learned = [label_counts.get(label) for label in grouped.index]
        shown["Cells in the reference"] = ["–" if n is None else f"{n:,}" for n in n_learned]
    return shown.reset_index(drop=True)


def decisions(cells: AnnotatedCells) -> list[tuple[str, str]]:
    """Return the inputs of the prediction and its settings in words.

    Parameters
    ----------
    cells
        The cells.
    """
    record = cells.record

    def text(name: str) -> str | None:
        value = record.get(name)
        return None if value is None else str(value)

    def yes(name: str) -> str | None:
        value = record.get(name)
        return None if value is None else "yes" if bool(value) else "no"

    shared = None
    if "n_shared_genes" in record:
        shared = f"{int(record['n_shared_genes']):,} of the model's {int(record['n_genes']):,}"
        if "gene_weight_fraction" in record:
            fraction = _percent(float(record["gene_weight_fraction"]))
            shared += f"; they have {fraction} of the information of its {record.get('gene_weight_of', 'genes')}"
    lines = [
        ("Matrix with the counts", text("layer")),
        ("Names of the genes", text("gene_column")),
        ("Genes of the cells", f"{len(cells.gene_names):,}"),
        ("Genes of the model that the cells have", shared),
        ("Platform factors used", yes("platform_correction")),
        ("Standard deviation of the logs of the platform factors", _number(record.get("platform_log_sd"))),
        ("Cells of none of the labels estimated", yes("open_set")),
        ("Coverage of the prediction sets", _number(record.get("coverage"))),
        ("Coverage for each label", yes("class_conditional") if "coverage" in record else None),
        ("Minimum confidence", _number(record.get("min_confidence"))),
        ("Level of the hierarchy", text("level")),
        ("Fraction of known cells rejected as novel", _number(record.get("novelty_fpr"))),
        ("Cells that were predicted", _number(record.get("n_predicted_cells"))),
        ("Seed", text("seed")),
        ("HRCA", text("hrca_version")),
        ("Model", text("model_id")),
    ]
    return [(name, value) for name, value in lines if value is not None]


def _number(value: Any) -> str | None:
    return None if value is None else f"{float(value):.3g}"


def _percent(fraction: float) -> str:
    """Return a fraction in percent, with a decimal where it is small."""
    return f"{fraction:.1%}" if 0 < fraction < 0.1 else f"{fraction:.0%}"
