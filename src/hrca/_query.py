"""A query on its way in, and its annotation on the way out."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from mudata import MuData

from ._counts import check_counts, describe_source, get_counts
from ._genes import GeneMatch, match_genes
from ._inference import aligned_batches


@dataclass(frozen=True)
class Query:
    """Cells to predict, and how their genes lie in the model's.

    Attributes
    ----------
    adata
        The query itself, or the RNA modality of one.
    layer
        Its layer with the raw counts; X if None.
    match
        Where the model's genes are.
    """

    adata: AnnData
    layer: str | None
    match: GeneMatch

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.adata.n_obs

    def batches(self, batch_size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Go through the cells in order; see :func:`hrca._inference.aligned_batches`."""
        counts = get_counts(self.adata, self.layer)
        return aligned_batches(counts, self.match, batch_size=batch_size, source=describe_source(self.layer))


def open_query(adata: AnnData, layer: str | None, model_genes: pd.Index) -> Query:
    """Check a query, and find the model's genes in it.

    Parameters
    ----------
    adata
        The query, or its RNA modality.
    layer
        Its layer with the raw counts; X if None.
    model_genes
        The model's genes, in its order.

    Raises
    ------
    ValueError
        If there is no such matrix, it does not hold raw counts, a gene name is duplicated, or no gene is shared.
    """
    match = match_genes(adata.var_names, model_genes)
    check_counts(get_counts(adata, layer), describe_source(layer))
    return Query(adata, layer, match)


def get_modality(mdata: MuData, name: str) -> AnnData:
    """Return a modality.

    Raises
    ------
    ValueError
        If there is no such modality.
    """
    if name not in mdata.mod:
        raise ValueError(
            f"The MuData must have the modality {name!r}, but it has {list(mdata.mod)}. "
            "Name the one with the counts: `modalities={'rna_layer': ...}` in the setup, `mdata['...']` as a query."
        )
    return mdata.mod[name]


def known_labels(obs: pd.DataFrame, labels_key: str, unlabeled_category: str) -> pd.Series:
    """Return the known labels of a query's cells, as objects; missing where there is none or the unlabelled category.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    if labels_key not in obs:
        raise ValueError(
            f"`labels_key` must name a column of the query's obs, got {labels_key!r}; it has {list(obs.columns)}."
        )
    known = obs[labels_key].astype(object)
    return known.where(known != unlabeled_category)


@dataclass(frozen=True)
class Annotation:
    """What is said of a query's cells.

    Attributes
    ----------
    labels
        Label of each cell, shape (n_obs,).
    confidence
        Its probability, shape (n_obs,), float32.
    probabilities
        Of all labels of the level, shape (n_obs, n_labels), float32.
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


def write_annotation(query: Query, key_added: str, annotation: Annotation, about: dict) -> None:
    """Write the annotation into the query's obs, obsm and uns; what an earlier one of this name left goes.

    Parameters
    ----------
    query
        The cells.
    key_added
        Name of the entries, and the beginning of their names.
    annotation
        What to write.
    about
        What else to note in uns, e.g. the model's id.
    """
    adata, probabilities = query.adata, annotation.probabilities
    if adata.is_view:
        # what anndata would do at the first write, with a warning; the object that the user holds becomes actual
        adata._init_as_actual(adata.copy())
    for name in ("novelty", "set_size"):
        if f"{key_added}_{name}" in adata.obs:
            del adata.obs[f"{key_added}_{name}"]
    if f"{key_added}_set" in adata.obsm:
        del adata.obsm[f"{key_added}_set"]
    adata.obs[key_added] = annotation.labels
    adata.obs[f"{key_added}_confidence"] = annotation.confidence
    adata.obsm[f"{key_added}_probabilities"] = _writable(probabilities)
    if annotation.novelty is not None:
        adata.obs[f"{key_added}_novelty"] = annotation.novelty
    if annotation.sets is not None:
        adata.obs[f"{key_added}_set_size"] = annotation.sets.to_numpy().sum(axis=1)
        adata.obsm[f"{key_added}_set"] = _writable(annotation.sets)
    adata.uns[key_added] = {
        "hrca_version": version("hrca"),
        **about,
        "labels": probabilities.columns.to_numpy(dtype=str),
        "layer": query.layer or "X",
        "n_genes": len(query.match.present),
        "n_shared_genes": query.match.n_shared,
    }


def _writable(table: pd.DataFrame) -> pd.DataFrame:
    # "/" in a column's name cannot be written: anndata 0.13 refuses it (docs/decisions/0002)
    return table.set_axis(make_index_unique(table.columns.str.replace("/", "|")), axis=1)
