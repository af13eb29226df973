"""A query on its way in, and its annotation on the way out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData

from ._alignment import GeneAlignment
from ._batches import aligned_batches, with_progress
from ._count_slots import CountSlot, table_in_memory
from ._report import ValidationReport
from ._sources import LazyAnnData, OutputTarget, open_query_input
from ._target_genes import TargetGenes
from ._validate import validate, warn_low_gene_coverage


@dataclass(frozen=True)
class Query:
    """Cells to predict, and how their genes lie in the model's.

    Attributes
    ----------
    adata
        The cells.
    target
        Where their annotation goes.
    slot
        Where its raw counts are.
    match
        Where the model's genes are.
    report
        What was found of it.
    """

    adata: AnnData | LazyAnnData
    target: OutputTarget
    slot: CountSlot
    alignment: GeneAlignment
    report: ValidationReport

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.adata.n_obs

    def batches(self, batch_size: int, *, bar: str | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Go through the cells in order; see :func:`hrca.data._batches.aligned_batches`.

        Parameters
        ----------
        batch_size
            Rows in a batch.
        bar
            Name of a progress bar; None: none is shown.
        """
        counts = self.slot.matrix(self.adata)
        batches = aligned_batches(counts, self.alignment, batch_size=batch_size, source=str(self.slot))
        return batches if bar is None else with_progress(batches, self.n_obs, bar)

    def provenance(self) -> dict:
        """Return what to note of it in uns, in types that h5ad and zarr can hold."""
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
    source, layer: str | None, model_genes: TargetGenes, *, modality: str = "rna", preferred_layer: str | None = None
) -> Query:
    """Check a query, and find its counts and the model's genes in it.

    Parameters
    ----------
    source
        See :func:`hrca.data._sources.open_query_input`.
    layer
        See :func:`hrca.data._select_counts.select_counts`.
    model_genes
        The model's genes.
    modality
        See :func:`hrca.data._sources.open_query_input`.
    usual
        See :func:`hrca.data._select_counts.select_counts`.

    Raises
    ------
    ValueError
        See :func:`hrca.data._validate.check` and :func:`hrca.data._sources.open_query_input`.
    FileNotFoundError
        See :func:`hrca.data._sources.open_query_input`.
    TypeError
        Likewise.
    """
    adata, target = open_query_input(source, modality)
    checked = validate(adata, model_genes, layer, preferred_layer=preferred_layer)
    warn_low_gene_coverage(checked.report, stacklevel=4)  # the line of the user who called predict or its like
    return Query(adata, target, checked.slot, checked.found.alignment, checked.report)


@contextmanager
def annotate_sample_errors(name: object) -> Iterator[None]:
    """Say in an error which of several samples it is of; None: there is one."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if name is not None:
            error.add_note(f"This was sample {name!r} of those that were given.")
        raise


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
    known = table_in_memory(obs)[labels_key].astype(object)
    return known.where(known != unlabeled_category)
