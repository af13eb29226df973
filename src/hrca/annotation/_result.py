"""What a prediction adds to cells, made once, whatever it is then written into."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

# What CELLxGENE's schema (5.2, obs) calls a cell whose type is not known, and its ids.
UNKNOWN = "unknown"

TERM = re.compile(r"CL:\d{7}")


@dataclass(frozen=True)
class PredictionResult:
    """What is said of a query's cells.

    Attributes
    ----------
    labels
        Label of each cell, shape (n_obs,).
    confidence
        Its probability, shape (n_obs,), float32.
    probabilities
        Of all labels of the level, shape (n_obs, n_labels), float32; index: the cells' names.
    novelty
        Shape (n_obs,), float32; None: the model knows no reference cells to measure it by.
    sets
        Whether a label is in the cell's set, boolean, shape (n_obs, n_labels); None: none were asked for.
    """

    labels: pd.Categorical
    confidence: np.ndarray
    probabilities: pd.DataFrame
    novelty: np.ndarray | None = None
    sets: pd.DataFrame | None = None


@dataclass(frozen=True)
class AnnDataEntries:
    """Entries for obs, obsm and uns.

    Attributes
    ----------
    obs
        A column for each entry, index: the cells' names, shape (n_obs, n_columns).
    obsm
        Tables of the same index.
    uns
        What to note of the prediction.
    stale
        Names of entries in obs and obsm that an earlier prediction may have left, and this one does not have.
    """

    obs: pd.DataFrame
    obsm: dict[str, pd.DataFrame]
    uns: dict[str, dict]
    stale: tuple[str, ...] = ()

    def with_columns(self, columns: dict[str, pd.Categorical]) -> "Annotation":
        """Return it with more columns of obs."""
        return replace(self, obs=self.obs.assign(**columns))

    def of(self, rows: slice) -> "Annotation":
        """Return that of some of the cells."""
        obsm = {name: table.iloc[rows] for name, table in self.obsm.items()}
        return replace(self, obs=self.obs.iloc[rows], obsm=obsm)


def to_entries(key_added: str, answers: PredictionResult, provenance: dict) -> AnnDataEntries:
    """Make the entries of a prediction.

    Parameters
    ----------
    key_added
        Name of the entries, and the beginning of their names.
    answers
        What is said of the cells.
    about
        What to note in uns.
    """
    probabilities = answers.probabilities
    obs = pd.DataFrame(
        {key_added: answers.labels, f"{key_added}_confidence": answers.confidence}, index=probabilities.index
    )
    obsm, stale = {f"{key_added}_probabilities": _writable(probabilities)}, []
    if answers.novelty is None:
        stale += [f"{key_added}_novelty"]
    else:
        obs[f"{key_added}_novelty"] = answers.novelty
    if answers.sets is None:
        stale += [f"{key_added}_set_size", f"{key_added}_set"]
    else:
        obs[f"{key_added}_set_size"] = answers.sets.to_numpy().sum(axis=1)
        obsm[f"{key_added}_set"] = _writable(answers.sets)
    return AnnDataEntries(obs, obsm, {key_added: provenance}, tuple(stale))


def _writable(table: pd.DataFrame) -> pd.DataFrame:
    # "/" in a column's name cannot be written: anndata 0.13 refuses it (docs/decisions/0002)
    return table.set_axis(make_index_unique(table.columns.str.replace("/", "|")), axis=1)


def check_terms(terms: Mapping[str, str], labels: list[str]) -> None:
    """Refuse ids of the Cell Ontology that are none, or that are not there for every label that can be an answer.

    Raises
    ------
    ValueError
        If a label has no id, or an id is not like "CL:0000236".
    """
    missing = [label for label in labels if label not in terms]
    if missing:
        raise ValueError(
            f"`ontology_terms` must have an id for each of the {len(labels)} labels that can be an answer, but it "
            f"lacks {missing[:3]}{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}. {UNKNOWN!r} stands for "
            "one without an id."
        )
    wrong = {label: terms[label] for label in labels if terms[label] != UNKNOWN and not TERM.fullmatch(terms[label])}
    if wrong:
        raise ValueError(
            "`ontology_terms` must hold ids of the Cell Ontology such as 'CL:0000236', or 'unknown', but it has "
            f"{dict(list(wrong.items())[:3])}."
        )


def cellxgene_columns(labels: pd.Categorical, terms: Mapping[str, str]) -> dict[str, pd.Categorical]:
    """Return the columns `cell_type` and `cell_type_ontology_term_id` of CELLxGENE's schema.

    Parameters
    ----------
    labels
        Label of each cell, shape (n_obs,); its last category is that of cells without a label.
    terms
        Id of each label.
    """
    *known, _ = labels.categories
    names = np.array([*known, UNKNOWN], dtype=object)
    ids = np.array([*(terms[label] for label in known), UNKNOWN], dtype=object)
    return {
        "cell_type": pd.Categorical(names[labels.codes]),
        "cell_type_ontology_term_id": pd.Categorical(ids[labels.codes]),
    }


def column_values(column: pd.Series) -> np.ndarray | pd.Categorical:
    """Return a column without its index."""
    return column.array if isinstance(column.dtype, pd.CategoricalDtype) else column.to_numpy()
