"""The result of a prediction, and the entries that it becomes in an AnnData or a file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hrca.data._cell_selection import CellSelection

from ._tables import writable_columns

# Cell type, and Cell Ontology id, of a cell whose type is not known (CELLxGENE schema 5.2.0, `obs`).
UNKNOWN = "unknown"

# An id of the Cell Ontology, as the same schema has it.
TERM_ID = re.compile(r"CL:\d{7}")

# Endings of the names of the results in obs, and in obsm.
OBS_SUFFIXES = ("confidence", "novelty", "novel_probability", "set_size")
OBSM_SUFFIXES = ("probabilities", "set")

# Columns of CELLxGENE's schema, and the entry of uns that records that HRCA wrote them.
CELLXGENE_COLUMNS = ("cell_type", "cell_type_ontology_term_id")
CELLXGENE_KEY = "hrca_cellxgene_columns"


@dataclass(frozen=True)
class PredictionResult:
    """Result of a prediction.

    Attributes
    ----------
    labels
        Label of each cell, shape (n_obs,). The last category is the unlabelled category.
    confidence
        Probability of that label, 0 to 1, shape (n_obs,), float32.
    probabilities
        Probabilities of all labels of the level, shape (n_obs, n_labels), float32; the index holds the cells' names.
    novelty
        Novelty of each cell, 0 to 1, shape (n_obs,), float32; None: it was not measured.
    sets
        Whether a label is in the cell's prediction set, boolean, shape (n_obs, n_labels); None: no sets were chosen.
    novel_probability
        Probability that the cell is of none of the labels, 0 to 1, shape (n_obs,), float32; None: not estimated.
    """

    labels: pd.Categorical
    confidence: np.ndarray
    probabilities: pd.DataFrame
    novelty: np.ndarray | None = None
    sets: pd.DataFrame | None = None
    novel_probability: np.ndarray | None = None


@dataclass(frozen=True)
class AnnDataEntries:
    """Entries of a prediction in obs, obsm and uns.

    Attributes
    ----------
    obs
        Columns of obs, shape (n_obs, n_columns); the index holds the cells' names.
    obsm
        Tables of obsm by name, each of shape (n_obs, n_labels), with the same index and columns that files can hold.
    uns
        Provenance of the prediction, by name.
    stale
        Names of entries in obs and obsm that this prediction lacks. Those of an earlier prediction are deleted.
    """

    obs: pd.DataFrame
    obsm: dict[str, pd.DataFrame]
    uns: dict[str, dict]
    stale: tuple[str, ...] = ()

    def with_cellxgene_columns(self, columns: dict[str, pd.Categorical]) -> "AnnDataEntries":
        """Return the entries with the columns of CELLxGENE's schema, each of shape (n_obs,), and a record of them."""
        record = {"key_added": next(iter(self.uns))}
        return replace(self, obs=self.obs.assign(**columns), uns={**self.uns, CELLXGENE_KEY: record})

    def subset(self, rows: slice) -> "AnnDataEntries":
        """Return the entries of some of the cells."""
        obsm = {name: table.iloc[rows] for name, table in self.obsm.items()}
        return replace(self, obs=self.obs.iloc[rows], obsm=obsm)

    def spread(self, selection: CellSelection) -> "AnnDataEntries":
        """Return entries of all cells of a query; those that were not predicted have missing values, and no set."""
        positions = np.arange(len(selection.obs_names))

        def spread(table: pd.DataFrame) -> pd.DataFrame:
            is_boolean = all(dtype.kind == "b" for dtype in table.dtypes)
            placed = table.set_axis(selection.rows).reindex(positions, fill_value=False if is_boolean else np.nan)
            return placed.set_axis(selection.obs_names)

        return replace(self, obs=spread(self.obs), obsm={name: spread(table) for name, table in self.obsm.items()})


def to_entries(key_added: str, result: PredictionResult, provenance: dict) -> AnnDataEntries:
    """Convert a result to entries of obs, obsm and uns.

    Parameters
    ----------
    key_added
        Name of the labels in obs and of the provenance in uns; prefix of the other names.
    result
        Result of the prediction.
    provenance
        Record of how the prediction was made, for uns.

    Returns
    -------
    The entries.
    """
    probabilities = result.probabilities
    obs = pd.DataFrame(
        {key_added: result.labels, f"{key_added}_confidence": result.confidence}, index=probabilities.index
    )
    obsm = {f"{key_added}_probabilities": _with_writable_columns(probabilities)}
    stale: list[str] = []
    for name in ("novelty", "novel_probability"):
        values = getattr(result, name)
        if values is None:
            stale += [f"{key_added}_{name}"]
        else:
            obs[f"{key_added}_{name}"] = values
    if result.sets is None:
        stale += [f"{key_added}_set_size", f"{key_added}_set"]
    else:
        obs[f"{key_added}_set_size"] = result.sets.to_numpy().sum(axis=1)
        obsm[f"{key_added}_set"] = _with_writable_columns(result.sets)
        provenance = {**provenance, "set_labels": result.sets.columns.to_numpy(dtype=str)}
    return AnnDataEntries(obs, obsm, {key_added: provenance}, tuple(stale))


def _with_writable_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_axis(writable_columns(table.columns), axis=1)


def check_terms(terms: Mapping[str, str], labels: list[str]) -> None:
    """Raise an error if a label has no valid Cell Ontology id.

    Parameters
    ----------
    terms
        Cell Ontology id of each label, or "unknown".
    labels
        The labels that can be predicted.

    Raises
    ------
    ValueError
        If a label has no id, or an id is not of the form "CL:0000236".
    """
    missing = [label for label in labels if label not in terms]
    if missing:
        n_more = len(missing) - 3
        raise ValueError(
            f"`ontology_terms` must have an id for each of the {len(labels)} labels that can be predicted, but it "
            f"lacks {missing[:3]}{f' and {n_more} more' if n_more > 0 else ''}. Use {UNKNOWN!r} for a label without "
            "an id."
        )
    invalid = {
        label: terms[label] for label in labels if terms[label] != UNKNOWN and not TERM_ID.fullmatch(terms[label])
    }
    if invalid:
        raise ValueError(
            f"`ontology_terms` must hold ids of the Cell Ontology such as 'CL:0000236', or {UNKNOWN!r}, but it has "
            f"{dict(list(invalid.items())[:3])}."
        )


def cellxgene_columns(labels: pd.Categorical, terms: Mapping[str, str]) -> dict[str, pd.Categorical]:
    """Return the columns `cell_type` and `cell_type_ontology_term_id` of CELLxGENE's schema.

    Parameters
    ----------
    labels
        Label of each cell, shape (n_obs,). The last category is the unlabelled category.
    terms
        Cell Ontology id of each label, or "unknown".

    Returns
    -------
    Both columns by name, each of shape (n_obs,). Cells without a label are "unknown" in both.

    Examples
    --------
    >>> labels = pd.Categorical(["B", "Unknown"], categories=["B", "T", "Unknown"])
    >>> columns = cellxgene_columns(labels, {"B": "CL:0000236", "T": "CL:0000084"})
    >>> list(columns["cell_type_ontology_term_id"])
    ['CL:0000236', 'unknown']
    """
    *cell_types, _ = labels.categories
    names = np.array([*cell_types, UNKNOWN], dtype=object)
    ids = np.array([*(terms[label] for label in cell_types), UNKNOWN], dtype=object)
    return dict(zip(CELLXGENE_COLUMNS, (pd.Categorical(x[labels.codes]) for x in (names, ids)), strict=True))


def column_values(column: pd.Series) -> np.ndarray | pd.Categorical:
    """Return the values of a column without its index; a categorical column keeps the categories that cells have.

    scanpy's functions for groups, such as ``rank_genes_groups``, fail for a category without cells.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.array.remove_unused_categories()
    return column.to_numpy()
