"""Look at cells before any work: where their counts and their genes are, and what else is odd with them."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._choose import Choice, choose_counts
from ._counts import Slot, check_counts, check_values
from ._find_genes import VAR_NAMES, FoundGenes, ModelGenes, find_genes, name_of, refuse_filled_in, refuse_two_species
from ._gene_ids import GENE_TYPE, describe_ids, genes_among, not_genes, type_column
from ._rows import in_memory
from ._scales import DETECTED

logger = logging.getLogger(__name__)

# Below this share of what tells the labels apart, a model trained on the shared genes is likely to do better: an atlas
# model of which a panel had 7 % of the genes left 98 % of the cells below p = 0.5 (SpatialCore's docs, 2026-01).
MIN_SHARE_WITHOUT_WARNING = 0.5


@dataclass(frozen=True, repr=False)
class Report:
    """What :func:`hrca.pp.check` found.

    Attributes
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes, in the matrix that was taken.
    layer
        The matrix that was taken, as `layer=` names it: "X", "raw" or a layer.
    matrices
        What each matrix holds, by the same names.
    gene_column
        Where the genes are named: "var_names", or a column of var.
    gene_ids
        What kind of ids these are.
    n_shared_genes
        How many of the model's genes are there; None without a model.
    n_genes
        Number of the model's genes; None without a model.
    share
        Share of :attr:`share_of` that is there, by what each tells about the labels, 0 to 1; None without a model.
    share_of
        Of what: "informative genes" of a model with a count branch, else "genes"; "" without a model.
    n_looked_at
        Cells from which the matrices were told, and the following are counted.
    n_empty_cells
        How many of these have no counts.
    n_empty_genes
        How many genes have none in these.
    notes
        What the user should know, in sentences; empty when all is well.
    """

    n_obs: int
    n_vars: int
    layer: str
    matrices: dict[str, str]
    gene_column: str
    gene_ids: str
    n_shared_genes: int | None
    n_genes: int | None
    share: float | None
    share_of: str
    n_looked_at: int
    n_empty_cells: int
    n_empty_genes: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict:
        """Return all of it as a dict."""
        return asdict(self)

    def sentence(self) -> str:
        """Return in one sentence what was taken."""
        taken = f"{self.n_obs:,} cells x {self.n_vars:,} genes: counts from {self.layer}, genes from {self.gene_column}"
        if self.share is None:
            return f"{taken} ({self.gene_ids})."
        return (
            f"{taken} ({self.gene_ids}), {self.n_shared_genes:,} of the model's {self.n_genes:,} genes, "
            f"{self.share:.0%} of what its {self.share_of} tell."
        )

    def __repr__(self) -> str:
        lines = [self.sentence(), *(f"  {name}: {text}" for name, text in self.matrices.items())]
        lines.append(
            f"  {self.n_looked_at:,} cells looked at: {self.n_empty_cells:,} without counts; "
            f"{self.n_empty_genes:,} genes without counts in them"
        )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


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
        See :func:`hrca._choose.choose_counts`.
    usual
        Likewise.
    with_raw
        Likewise.

    Raises
    ------
    ValueError
        See :func:`hrca._choose.choose_counts`, :func:`hrca._find_genes.find_genes` and
        :func:`hrca._counts.check_counts`; or if the matrix is transposed, or genes were filled in.
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
