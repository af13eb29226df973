"""Look at cells before any work: where their counts and their genes are, and what else is odd with them."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._count_slots import Slot
from ._gene_ids import GENE_TYPE, describe_ids, genes_among, not_genes, type_column
from ._gene_matching import FoundGenes, find_genes, refuse_filled_in, refuse_two_species
from ._report import Report
from ._row_reader import in_memory
from ._select_counts import Choice, choose_counts
from ._target_genes import VAR_NAMES, ModelGenes, name_of
from ._value_scale import DETECTED, check_counts, check_values

logger = logging.getLogger(__name__)

# Below this share of what tells the labels apart, a model trained on the shared genes is likely to do better: an atlas
# model of which a panel had 7 % of the genes left 98 % of the cells below p = 0.5 (SpatialCore's docs, 2026-01).
MIN_SHARE_WITHOUT_WARNING = 0.5


@dataclass(frozen=True)
class Checked:
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

    slot: Slot
    found: FoundGenes | None
    report: Report


def check(
    adata: AnnData,
    model: ModelGenes | None,
    layer: str | None,
    *,
    usual: str | None = None,
    with_raw: bool = True,
) -> Checked:
    """Check cells; see :func:`hrca.pp.check`.

    Parameters
    ----------
    adata
        The cells; they stay as they are.
    model
        The genes that they are to have; None: any.
    layer
        See :func:`hrca.data._select_counts.choose_counts`.
    usual
        Likewise.
    with_raw
        Likewise.

    Raises
    ------
    ValueError
        See :func:`hrca.data._select_counts.choose_counts`, :func:`hrca.data._gene_matching.find_genes` and
        :func:`hrca.data._value_scale.check_counts`; or if the matrix is transposed, or genes were filled in.
    """
    _refuse_transposed(adata)
    choice = choose_counts(adata, layer, usual=usual, with_raw=with_raw)
    slot, sample = choice.look.slot, choice.look.sample
    if model is None:
        found = None
        refuse_two_species(slot.var(adata).index.astype(str), name_of(VAR_NAMES, slot))
    else:
        found = find_genes(adata, slot, model)
    if in_memory(slot.matrix(adata)):
        check_counts(slot.matrix(adata), str(slot))
    else:
        check_values(sample.data, str(slot))
    if found is not None:
        refuse_filled_in(sample, found.match, model)
    notes = [*choice.notes, *(found.notes if found else ()), *_notes(adata, slot, sample, found)]
    report = _report(adata, choice, sample, found, model, notes)
    if notes:
        logger.warning("%s %s", report.sentence(), " ".join(notes))
    else:
        logger.info("%s", report.sentence())
    return Checked(slot, found, report)


def warn_of_little(report: Report, stacklevel: int) -> None:
    """Warn if a query has little of what tells the model's labels apart."""
    if report.share is not None and report.share < MIN_SHARE_WITHOUT_WARNING:
        warnings.warn(
            f"The query has {report.n_shared_genes} of the model's {report.n_genes} genes, and only {report.share:.0%} "
            f"of what its {report.share_of} tell; the others count as absent. "
            "A model trained on the shared genes is likely to be better: "
            "`reference[:, reference.var_names.isin(query.var_names)].copy()`, then `HRCA.setup_anndata` on that.",
            stacklevel=stacklevel + 1,
        )


def _refuse_transposed(adata: AnnData) -> None:
    rows, columns = describe_ids(adata.obs_names.astype(str)), describe_ids(adata.var_names.astype(str))
    if rows.kind == "Ensembl" or columns.kind == "barcodes" != rows.kind:
        raise ValueError(
            f"Rows must be cells and columns genes, but adata.obs_names[:3] = {list(adata.obs_names[:3])} are {rows}, "
            f"adata.var_names[:3] = {list(adata.var_names[:3])} are {columns}. `adata = adata.T` turns the matrix."
        )


def _notes(adata: AnnData, slot: Slot, sample: sparse.csr_array, found: FoundGenes | None) -> Iterator[str]:
    var = slot.var(adata)
    if not adata.obs_names.is_unique:
        yield "`adata.obs_names` are not unique; labels are in the order of the cells."
    n_empty, n_twice = int((np.diff(sample.indptr) == 0).sum()), _n_repeated(sample)
    if n_empty:
        yield f"{n_empty:,} of {sample.shape[0]:,} cells looked at have no counts: they cannot be judged."
    if n_twice:
        yield f"{n_twice:,} of {sample.shape[0]:,} cells looked at are there more than once, count for count."
    is_gene = genes_among(var)
    if not is_gene.all():
        part = (
            "play no part in finding genes" if found else f"would be learned as genes: {_genes_alone(var)} drops them"
        )
        yield f"{(~is_gene).sum():,} features are no genes by their type, and {part}."
    used = np.zeros(len(var), dtype=bool) if found is None else found.match.used(len(var))
    for what, names in not_genes(var.index[~used & is_gene].astype(str)).items():
        if names:
            part = "they play no part" if found else "they would be learned as genes: leave them out"
            yield f"{len(names):,} of the names are {what}, such as {names[0]!r}: {part}."


def _genes_alone(var: pd.DataFrame) -> str:
    return f"`adata = adata[:, adata.var[{type_column(var)!r}] == {GENE_TYPE!r}].copy()`"


def _n_repeated(sample: sparse.csr_array) -> int:
    # of cells with few counts, some are alike by chance
    rich = np.flatnonzero(np.diff(sample.indptr) >= DETECTED)
    bounds = [slice(sample.indptr[row], sample.indptr[row + 1]) for row in rich]
    cells = {sample.indices[cell].tobytes() + sample.data[cell].tobytes() for cell in bounds}
    return len(rich) - len(cells)


def _report(
    adata: AnnData,
    choice: Choice,
    sample: sparse.csr_array,
    found: FoundGenes | None,
    model: ModelGenes | None,
    notes: list[str],
) -> Report:
    slot = choice.look.slot
    n_vars = len(slot.var(adata))
    return Report(
        n_obs=adata.n_obs,
        n_vars=n_vars,
        layer=slot.name,
        matrices={look.slot.name: look.scale.text for look in choice.looks},
        gene_column=found.column if found else VAR_NAMES,
        gene_ids=str(found.ids if found else describe_ids(slot.var(adata).index.astype(str))),
        n_shared_genes=found.match.n_shared if found else None,
        n_genes=len(model.names) if model else None,
        share=found.share if found else None,
        share_of=model.what if model else "",
        n_looked_at=sample.shape[0],
        n_empty_cells=int((np.diff(sample.indptr) == 0).sum()),
        n_empty_genes=int((np.bincount(sample.indices, minlength=n_vars) == 0).sum()),
        notes=tuple(notes),
    )
