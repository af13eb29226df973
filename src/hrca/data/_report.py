"""The report of a validation."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, repr=False)
class ValidationReport:
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
        Share of :attr:`gene_weight_of` that is there, by what each tells about the labels, 0 to 1; None without a model.
    gene_weight_of
        Of what: "informative genes" of a model with a count branch, else "genes"; "" without a model.
    n_sampled_cells
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
    gene_weight_fraction: float | None
    gene_weight_of: str
    n_sampled_cells: int
    n_empty_cells: int
    n_empty_genes: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict:
        """Return all of it as a dict."""
        return asdict(self)

    def sentence(self) -> str:
        """Return in one sentence what was taken."""
        taken = f"{self.n_obs:,} cells x {self.n_vars:,} genes: counts from {self.layer}, genes from {self.gene_column}"
        if self.gene_weight_fraction is None:
            return f"{taken} ({self.gene_ids})."
        return (
            f"{taken} ({self.gene_ids}), {self.n_shared_genes:,} of the model's {self.n_genes:,} genes, "
            f"{self.gene_weight_fraction:.0%} of what its {self.gene_weight_of} tell."
        )

    def __repr__(self) -> str:
        lines = [self.sentence(), *(f"  {name}: {text}" for name, text in self.matrices.items())]
        lines.append(
            f"  {self.n_sampled_cells:,} cells looked at: {self.n_empty_cells:,} without counts; "
            f"{self.n_empty_genes:,} genes without counts in them"
        )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
