"""Look at cells before any work: where their counts and their genes are, and what else is odd with them."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._count_slots import CountSlot
from ._gene_ids import GENE_TYPE, describe_ids, flag_non_gene_features, is_gene_feature, type_column
from ._gene_matching import GeneMatchResult, check_single_species, check_zero_filled, match_genes
from ._report import ValidationReport
from ._row_reader import in_memory
from ._select_counts import CountSelection, select_counts
from ._target_genes import VAR_NAMES, TargetGenes, name_of
from ._value_scale import MIN_DETECTED_GENES, check_counts, check_values

logger = logging.getLogger(__name__)

# Below this share of what tells the labels apart, a model trained on the shared genes is likely to do better: an atlas
# model of which a panel had 7 % of the genes left 98 % of the cells below p = 0.5 (SpatialCore's docs, 2026-01).
MIN_WEIGHT_FRACTION_WITHOUT_WARNING = 0.5


@dataclass(frozen=True)
class ValidatedCells:
    """Cells that were let through.

    Attributes
    ----------
    slot
        Where the counts are.
    found
        Where the model's genes are; None without a model.
    report
        What was found.
    """

    slot: CountSlot
    found: GeneMatchResult | None
    report: ValidationReport


def validate(
    adata: AnnData,
    model: TargetGenes | None,
    layer: str | None,
    *,
    preferred_layer: str | None = None,
    with_raw: bool = True,
) -> ValidatedCells:
    """Check cells; see :func:`hrca.pp.check`.

    Parameters
    ----------
    adata
        The cells; they stay as they are.
    model
        The genes that they are to have; None: any.
    layer
        See :func:`hrca.data._select_counts.select_counts`.
    usual
        Likewise.
    with_raw
        Likewise.

    Raises
    ------
    ValueError
        See :func:`hrca.data._select_counts.select_counts`, :func:`hrca.data._gene_matching.match_genes` and
        :func:`hrca.data._value_scale.check_counts`; or if the matrix is transposed, or genes were filled in.
    """
    check_orientation(adata)
    choice = select_counts(adata, layer, preferred_layer=preferred_layer, with_raw=with_raw)
    slot, sample = choice.look.slot, choice.look.sample
    if model is None:
        found = None
        check_single_species(slot.var(adata).index.astype(str), name_of(VAR_NAMES, slot))
    else:
        found = match_genes(adata, slot, model)
    if in_memory(slot.matrix(adata)):
        check_counts(slot.matrix(adata), str(slot))
    else:
        check_values(sample.data, str(slot))
    if found is not None:
        check_zero_filled(sample, found.alignment, model)
    notes = [*choice.notes, *(found.notes if found else ()), *_notes(adata, slot, sample, found)]
    report = _report(adata, choice, sample, found, model, notes)
    if notes:
        logger.warning("%s %s", report.sentence(), " ".join(notes))
    else:
        logger.info("%s", report.sentence())
    return ValidatedCells(slot, found, report)


def warn_low_gene_coverage(report: ValidationReport, stacklevel: int) -> None:
    """Warn if a query has little of what tells the model's labels apart."""
    if report.gene_weight_fraction is not None and report.gene_weight_fraction < MIN_WEIGHT_FRACTION_WITHOUT_WARNING:
        warnings.warn(
            f"The query has {report.n_shared_genes} of the model's {report.n_genes} genes, and only {report.gene_weight_fraction:.0%} "
            f"of what its {report.gene_weight_of} tell; the others count as absent. "
            "A model trained on the shared genes is likely to be better: "
            "`reference[:, reference.var_names.isin(query.var_names)].copy()`, then `HRCA.setup_anndata` on that.",
            stacklevel=stacklevel + 1,
        )


def check_orientation(adata: AnnData) -> None:
    rows, columns = describe_ids(adata.obs_names.astype(str)), describe_ids(adata.var_names.astype(str))
    if rows.kind == "Ensembl" or columns.kind == "barcodes" != rows.kind:
        raise ValueError(
            f"Rows must be cells and columns genes, but adata.obs_names[:3] = {list(adata.obs_names[:3])} are {rows}, "
            f"adata.var_names[:3] = {list(adata.var_names[:3])} are {columns}. `adata = adata.T` turns the matrix."
        )


def _notes(adata: AnnData, slot: CountSlot, sample: sparse.csr_array, found: GeneMatchResult | None) -> Iterator[str]:
    var = slot.var(adata)
    if not adata.obs_names.is_unique:
        yield "`adata.obs_names` are not unique; labels are in the order of the cells."
    n_empty, n_twice = int((np.diff(sample.indptr) == 0).sum()), _n_repeated(sample)
    if n_empty:
        yield f"{n_empty:,} of {sample.shape[0]:,} cells looked at have no counts: they cannot be judged."
    if n_twice:
        yield f"{n_twice:,} of {sample.shape[0]:,} cells looked at are there more than once, count for count."
    is_gene = is_gene_feature(var)
    if not is_gene.all():
        part = (
            "play no part in finding genes" if found else f"would be learned as genes: {_genes_alone(var)} drops them"
        )
        yield f"{(~is_gene).sum():,} features are no genes by their type, and {part}."
    used = np.zeros(len(var), dtype=bool) if found is None else found.alignment.used(len(var))
    for what, names in flag_non_gene_features(var.index[~used & is_gene].astype(str)).items():
        if names:
            part = "they play no part" if found else "they would be learned as genes: leave them out"
            yield f"{len(names):,} of the names are {what}, such as {names[0]!r}: {part}."


def _genes_alone(var: pd.DataFrame) -> str:
    return f"`adata = adata[:, adata.var[{type_column(var)!r}] == {GENE_TYPE!r}].copy()`"


def _n_repeated(sample: sparse.csr_array) -> int:
    # of cells with few counts, some are alike by chance
    well_detected = np.flatnonzero(np.diff(sample.indptr) >= MIN_DETECTED_GENES)
    bounds = [slice(sample.indptr[row], sample.indptr[row + 1]) for row in well_detected]
    cells = {sample.indices[cell].tobytes() + sample.data[cell].tobytes() for cell in bounds}
    return len(well_detected) - len(cells)


def _report(
    adata: AnnData,
    choice: CountSelection,
    sample: sparse.csr_array,
    found: GeneMatchResult | None,
    model: TargetGenes | None,
    notes: list[str],
) -> ValidationReport:
    slot = choice.look.slot
    n_vars = len(slot.var(adata))
    return ValidationReport(
        n_obs=adata.n_obs,
        n_vars=n_vars,
        layer=slot.name,
        matrices={look.slot.name: look.scale.text for look in choice.evaluations},
        gene_column=found.column if found else VAR_NAMES,
        gene_ids=str(found.ids if found else describe_ids(slot.var(adata).index.astype(str))),
        n_shared_genes=found.alignment.n_shared if found else None,
        n_genes=len(model.names) if model else None,
        gene_weight_fraction=found.gene_weight_fraction if found else None,
        gene_weight_of=model.what if model else "",
        n_sampled_cells=sample.shape[0],
        n_empty_cells=int((np.diff(sample.indptr) == 0).sum()),
        n_empty_genes=int((np.bincount(sample.indices, minlength=n_vars) == 0).sum()),
        notes=tuple(notes),
    )
