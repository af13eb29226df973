"""The report of a validation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hrca._messages import counted

from ._gene_matching import GeneMatchResult
from ._select_counts import CountSelection
from ._target_genes import TargetGenes


@dataclass(frozen=True, repr=False)
class ValidationReport:
    """The result of :func:`hrca.pp.check`.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes in the selected matrix.
    layer
        The selected matrix, as `layer=` names it: "X", "raw" or a layer.
    matrices
        Content of each matrix, by the same names.
    gene_column
        Column that names the genes: "var_names", or a column of var.
    gene_ids
        Format of these names.
    n_shared_genes
        Number of the model's genes that were found; None without a model.
    n_genes
        Number of the model's genes; None without a model.
    gene_weight_fraction
        Fraction of the model's information about the labels that is in the found genes, from 0 to 1; None without a
        model.
    gene_weight_of
        Genes that have this information: "informative genes" of a model with a count likelihood, else "genes"; ""
        without a model.
    n_sampled_cells
        Number of cells that were sampled from the selected matrix.
    n_empty_cells
        Number of sampled cells without counts.
    n_empty_genes
        Number of genes without counts in the sampled cells.
    notes
        Sentences for the user; empty if there is nothing to note.

    Examples
    --------
    >>> import hrca
    >>> report = hrca.pp.check(hrca.datasets.pbmc68k())
    >>> report.n_obs, report.gene_ids
    (700, 'symbols in upper case')
    """

    n_obs: int
    n_vars: int
    layer: str
    matrices: dict[str, str]
    gene_column: str
    gene_ids: str
    n_shared_genes: int | None
    n_genes: int | None
    gene_weight_fraction: float | None
    gene_weight_of: str
    n_sampled_cells: int
    n_empty_cells: int
    n_empty_genes: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict:
        """Return all fields as a dict.

        Returns
        -------
        The value of each field, by its name.

        Examples
        --------
        >>> import hrca
        >>> hrca.pp.check(hrca.datasets.pbmc68k()).to_dict()["n_vars"]
        765
        """
        return asdict(self)

    def sentence(self) -> str:
        """Return a one-sentence summary.

        Returns
        -------
        The place of the counts, the names of the genes and the coverage of the model's genes.

        Examples
        --------
        >>> import hrca
        >>> hrca.pp.check(hrca.datasets.pbmc68k()).sentence()
        '700 cells x 765 genes: counts from X, genes from var_names (symbols in upper case).'
        """
        shape = f"{counted(self.n_obs, 'cell')} x {counted(self.n_vars, 'gene')}"
        selected = f"{shape}: counts from {self.layer}, genes from {self.gene_column}"
        if self.gene_weight_fraction is None:
            return f"{selected} ({self.gene_ids})."
        return (
            f"{selected} ({self.gene_ids}), {self.n_shared_genes:,} of the model's {self.n_genes:,} genes, "
            f"{self.gene_weight_fraction:.0%} of the information of its {self.gene_weight_of}."
        )

    def __repr__(self) -> str:
        lines = [self.sentence(), *(f"  {name}: {content}" for name, content in self.matrices.items())]
        lines.append(
            f"  {counted(self.n_sampled_cells, 'cell')} sampled: {self.n_empty_cells:,} without counts; "
            f"{counted(self.n_empty_genes, 'gene')} without counts in them"
        )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def make_report(
    n_obs: int,
    selection: CountSelection,
    match_result: GeneMatchResult,
    target_genes: TargetGenes | None,
    notes: Sequence[str],
) -> ValidationReport:
    """Build the report of a validation from the results of its steps.

    Parameters
    ----------
    n_obs
        Number of cells.
    selection
        The selected matrix.
    match_result
        The match of its genes.
    target_genes
        Genes that were searched for; None: no gene was searched for.
    notes
        Sentences for the user.
    """
    sample, n_vars = selection.summary.sample, len(match_result.names)
    has_target = target_genes is not None
    return ValidationReport(
        n_obs=n_obs,
        n_vars=n_vars,
        layer=selection.summary.slot.name,
        matrices={summary.slot.name: summary.scale.text for summary in selection.summaries},
        gene_column=match_result.column,
        gene_ids=str(match_result.id_format),
        n_shared_genes=match_result.n_shared if has_target else None,
        n_genes=len(target_genes.names) if target_genes else None,
        gene_weight_fraction=match_result.gene_weight_fraction if has_target else None,
        gene_weight_of=target_genes.weighted_genes if target_genes else "",
        n_sampled_cells=sample.shape[0],
        n_empty_cells=int((np.diff(sample.indptr) == 0).sum()),
        n_empty_genes=int((np.bincount(sample.indices, minlength=n_vars) == 0).sum()),
        notes=tuple(notes),
    )
