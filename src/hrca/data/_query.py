"""A query that has been opened and validated."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from hrca._warnings import warn_user
from hrca.typing import Batches

from ._alignment import GeneAlignment
from ._batches import aligned_batches, with_progress
from ._cell_selection import CellIndices, CellSelection, select_cells
from ._count_slots import CountSlot, check_column_name, check_single_column, table_in_memory
from ._gene_map import GeneMap
from ._report import ValidationReport
from ._sources import OutputTarget, QueryCells, QueryInput, open_query_input
from ._target_genes import TargetGenes
from ._validate import low_gene_coverage, validate


@dataclass(frozen=True)
class Query:
    """The cells to predict, with their counts and the model's genes among theirs.

    Attributes
    ----------
    adata
        The cells.
    target
        Object or file that results are written to.
    slot
        Slot of the raw counts.
    alignment
        Alignment of their genes to the model's.
    report
        Report of the validation.
    selection
        The chosen cells of the target; None: `adata` has all of them.
    """

    adata: QueryCells
    target: OutputTarget
    slot: CountSlot
    alignment: GeneAlignment
    report: ValidationReport
    selection: CellSelection | None = None

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.adata.n_obs

    def batches(self, batch_size: int, *, bar: str | None = None) -> Batches:
        """Iterate over the cells in order; see :func:`hrca.data._batches.aligned_batches`.

        Parameters
        ----------
        batch_size
            Number of cells in a batch.
        bar
            Text before a progress bar; None: no progress bar.
        """
        counts = self.slot.matrix(self.adata)
        batches = aligned_batches(counts, self.alignment, batch_size=batch_size, source=str(self.slot))
        return batches if bar is None else with_progress(batches, self.n_obs, bar)

    def take(self, rows: np.ndarray) -> "Query":
        """Return some cells of the query, to read; results are not written to these.

        Parameters
        ----------
        rows
            Their positions, each once, shape (n_rows,).
        """
        return replace(self, adata=select_cells(self.adata, rows)[0])

    def check_all_cells(self, batch_size: int) -> None:
        """Read all cells once, as a prediction does, and raise an error if a batch does not hold raw counts.

        Parameters
        ----------
        batch_size
            Number of cells in a batch.

        Raises
        ------
        ValueError
            As for :func:`hrca.data._batches.aligned_batches`.
        """
        for _ in self.batches(batch_size):
            pass

    def provenance(self) -> dict:
        """Return the entries of uns that describe the query, in types that h5ad and zarr can hold."""
        return {
            "hrca_version": version("hrca"),
            "layer": self.report.layer,
            "gene_column": self.report.gene_column,
            "n_genes": len(self.alignment.present),
            "n_shared_genes": self.alignment.n_shared,
            "gene_weight_fraction": self.report.gene_weight_fraction,
            "gene_weight_of": self.report.gene_weight_of,
        }


def open_query(
    source: QueryInput,
    layer: str | None,
    target_genes: TargetGenes,
    *,
    modality: str = "rna",
    preferred_layer: str | None = None,
    indices: CellIndices | None = None,
    logged: set[str] | None = None,
    gene_map: GeneMap | None = None,
) -> Query:
    """Open a query, validate it, and warn if it has little of the model's information.

    Parameters
    ----------
    source
        See :func:`hrca.data._sources.open_query_input`.
    layer
        See :func:`hrca.data._validate.validate`.
    target_genes
        The model's genes.
    modality
        See :func:`hrca.data._sources.open_query_input`.
    preferred_layer
        See :func:`hrca.data._select_counts.select_counts`.
    indices
        See :func:`hrca.data._cell_selection.select_cells`; None: all cells.
    logged
        See :func:`hrca.data._validate.log_report`.
    gene_map
        See :func:`hrca.data._validate.validate`.

    Raises
    ------
    ValueError
        As for :func:`hrca.data._sources.open_query_input`, :func:`hrca.data._cell_selection.select_cells` and
        :func:`hrca.data._validate.validate`.
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` has another type than :data:`hrca.data._sources.QueryInput`.
    """
    adata, target = open_query_input(source, modality)
    selection = None
    if indices is not None:
        adata, selection = select_cells(adata, indices)
    query = validated_query(
        adata, target, layer, target_genes, preferred_layer=preferred_layer, logged=logged, gene_map=gene_map
    )
    return replace(query, selection=selection)


def validated_query(
    adata: QueryCells,
    target: OutputTarget,
    layer: str | None,
    target_genes: TargetGenes,
    *,
    preferred_layer: str | None = None,
    logged: set[str] | None = None,
    gene_map: GeneMap | None = None,
) -> Query:
    """Validate cells that were opened, and warn if they have little of the model's information.

    Parameters
    ----------
    adata
        The cells.
    target
        Object or file that results are written to.
    layer, target_genes, preferred_layer, logged, gene_map
        See :func:`open_query`.

    Raises
    ------
    ValueError
        As for :func:`hrca.data._validate.validate`.
    """
    validated = validate(adata, target_genes, layer, preferred_layer=preferred_layer, gene_map=gene_map, logged=logged)
    sentence = low_gene_coverage(validated.report)
    if sentence is not None:
        warn_user(sentence)
    return Query(adata, target, validated.slot, validated.alignment, validated.report)


@contextmanager
def annotate_sample_errors(name: object) -> Iterator[None]:
    """Add the name of a sample to an error.

    Parameters
    ----------
    name
        Name of the sample; None: there is only one.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if name is not None:
            error.add_note(f"The error is in sample {name!r}.")
        raise


def check_all_cells(queries: Mapping[Any, Query], batch_size: int) -> None:
    """Check all cells of several samples, before results of the first are written.

    Parameters
    ----------
    queries
        The samples by name.
    batch_size
        Number of cells that are read at a time.

    Raises
    ------
    ValueError
        If a cell has values that are not raw counts. A note names the sample.
    """
    for name, query in queries.items():
        with annotate_sample_errors(name):
            query.check_all_cells(batch_size)


def known_labels(obs: pd.DataFrame, labels_key: str, unlabeled_category: str) -> pd.Series:
    """Return the known labels of a query's cells.

    Parameters
    ----------
    obs
        Table of the cells.
    labels_key
        Its column with the labels.
    unlabeled_category
        Label of cells without a label.

    Returns
    -------
    Labels as objects, shape (n_obs,); missing for a cell without a label.

    Raises
    ------
    ValueError
        If there is no such column, or more than one.
    TypeError
        If `labels_key` is no string.
    """
    check_column_name(labels_key, "labels_key")
    if labels_key not in obs:
        raise ValueError(
            f"`labels_key` must name a column of the query's obs, got {labels_key!r}; it has {list(obs.columns)}."
        )
    table = table_in_memory(obs)
    check_single_column(table, labels_key, "adata.obs")
    labels = table[labels_key].astype(object)
    return labels.where(labels != unlabeled_category)
