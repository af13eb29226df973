"""Validate cells before any computation: find their counts and genes, and check both."""

import logging
from dataclasses import dataclass
from itertools import chain

import pandas as pd

from ._alignment import GeneAlignment
from ._count_checks import check_counts
from ._count_selection_errors import explain_no_counts
from ._count_slots import CountSlot, list_slots
from ._gene_ids import describe_ids
from ._gene_map import GeneMap
from ._gene_matching import match_genes, note_gene_match, own_genes
from ._gene_matching_errors import check_gene_match
from ._report import ValidationReport, make_report
from ._row_reader import in_memory
from ._select_counts import select_counts, select_named, summarize_matrix
from ._sources import QueryCells
from ._target_genes import TargetGenes
from ._validation_notes import note_cells, note_features
from ._zero_filled import check_zero_filled

logger = logging.getLogger(__name__)

# With a smaller fraction of the information, a model trained on the shared genes is better: on two pairs of data sets,
# equally good with nine tenths of the genes, and better by .01 with three quarters and by .03 with half of them in
# macro-F1 (benchmarks/results/uncertainty/missing_genes.csv). A panel that had 7 % of the genes of an atlas model left
# 98 % of the cells below p = 0.5 (SpatialCore's documentation, 2026-01).
MIN_WEIGHT_FRACTION_WITHOUT_WARNING = 0.75


@dataclass(frozen=True)
class ValidatedCells:
    """The result of a validation.

    Attributes
    ----------
    slot
        Slot of the counts.
    alignment
        Alignment of their genes to the genes that were searched for, or to themselves if none were.
    report
        The report for the user.
    """

    slot: CountSlot
    alignment: GeneAlignment
    report: ValidationReport


def validate(
    adata: QueryCells,
    target_genes: TargetGenes | None,
    layer: str | None,
    *,
    preferred_layer: str | None = None,
    with_raw: bool = True,
    logged: set[str] | None = None,
    gene_map: GeneMap | None = None,
) -> ValidatedCells:
    """Find the counts and the genes of cells, and check both.

    Each step uses the results of the steps before it. One sample of cells is read from each matrix. The selected matrix
    of a reference is then checked whole, and that of a query if it is in memory: the batches of another are checked
    when they are read.

    Parameters
    ----------
    adata
        The cells; they are not changed.
    target_genes
        Genes to search for; None: none, as for a reference.
    layer
        Matrix with the counts: a layer, "X" or "raw"; None: search all matrices.
    preferred_layer
        See :func:`hrca.data._select_counts.select_counts`.
    with_raw
        Whether raw can be selected.
    logged
        See :func:`log_report`.
    gene_map
        Table of other names of the genes; None: none.

    Raises
    ------
    ValueError
        If rows and columns are swapped; there is no such layer; no matrix, or more than one, holds raw counts; genes
        have positions for names, or are of two species; `gene_map` has none of their names; too few of the genes
        searched for are there, or one of them is there more than once; values are not raw counts; or zeros were filled
        in for absent genes.
    """
    check_orientation(adata.obs_names, adata.var_names)
    is_named = layer is not None
    slots = list_slots(adata, layer, with_raw=with_raw)
    summaries = tuple(summarize_matrix(slot, slot.matrix(adata), is_named=is_named) for slot in slots)
    selection = select_named(summaries[0]) if is_named else select_counts(summaries, preferred_layer, with_raw=with_raw)
    if selection is None:
        raise ValueError(explain_no_counts(summaries, preferred_layer, with_raw=with_raw))
    slot, sample = selection.summary.slot, selection.summary.sample
    var, matrix = slot.var(adata), slot.matrix(adata)
    match_result = own_genes(var, gene_map) if target_genes is None else match_genes(var, target_genes, gene_map)
    alignment = match_result.alignment
    check_gene_match(match_result, target_genes, var, adata.obs_names, slot.owner)
    check_counts(matrix if target_genes is None or in_memory(matrix) else sample, str(slot))
    if target_genes is not None:
        check_zero_filled(sample, alignment, target_genes)
    notes = chain(
        selection.notes,
        note_gene_match(match_result, slot.owner),
        note_cells(adata.obs_names, sample, is_reference=target_genes is None),
        note_features(var, None if target_genes is None else alignment),
    )
    report = make_report(adata.n_obs, selection, match_result, target_genes, list(notes))
    log_report(report, logged)
    return ValidatedCells(slot, alignment, report)


def check_orientation(obs_names: pd.Index, var_names: pd.Index) -> None:
    """Check that rows are cells and columns are genes, by their names.

    Parameters
    ----------
    obs_names
        Names of the rows, shape (n_obs,).
    var_names
        Names of the columns, shape (n_vars,).

    Raises
    ------
    ValueError
        If the rows have Ensembl ids, or only the columns have barcodes.
    """
    rows, columns = describe_ids(obs_names.astype(str)), describe_ids(var_names.astype(str))
    if rows.kind == "Ensembl" or columns.kind == "barcodes" != rows.kind:
        raise ValueError(
            f"Rows must be cells and columns genes, but adata.obs_names[:3] = {list(obs_names[:3])} are {rows}, "
            f"adata.var_names[:3] = {list(var_names[:3])} are {columns}. `adata = adata.T` turns the matrix."
        )


def log_report(report: ValidationReport, logged: set[str] | None = None) -> None:
    """Log a report in one line: as a warning if it has notes.

    Parameters
    ----------
    report
        Report of the validation.
    logged
        Lines that a model has logged before, which are not repeated; this one is added. None: none.
    """
    line = " ".join([report.sentence(), *report.notes])
    logged = set() if logged is None else logged
    if line not in logged:
        logged.add(line)
        logger.log(logging.WARNING if report.notes else logging.INFO, "%s", line)


def low_gene_coverage(report: ValidationReport) -> str | None:
    """Return a sentence if a query has little of the model's information about the labels.

    Parameters
    ----------
    report
        Report of the validation.

    Returns
    -------
    The sentence; None if the query has at least 75 % of the information.
    """
    fraction = report.gene_weight_fraction
    if fraction is None or fraction >= MIN_WEIGHT_FRACTION_WITHOUT_WARNING:
        return None
    return (
        f"The query has {report.n_shared_genes:,} of the model's {report.n_genes:,} genes, and only {fraction:.0%} "
        f"of the information of its {report.gene_weight_of}; the other genes count as absent. "
        "A model trained on the shared genes is likely to be better: set up and train a new one on "
        "`reference[:, reference.var_names.isin(query.var_names)].copy()`."
    )
