"""Summary of a query's genes and depths against the reference's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hrca._messages import counted, counted_among
from hrca.data._reference_cells import ReferenceCells
from hrca.data._row_reader import weighted_depth
from hrca.module._module import N_DEPTH_QUANTILES
from hrca.module._profiles import class_profiles, js_divergence_by_gene


@dataclass(frozen=True)
class QueryMatch:
    """The fit of a query to the reference.

    Attributes
    ----------
    n_shared_genes
        Number of the model's genes that the query has.
    n_genes
        Number of the model's genes.
    shared_information
        Fraction of the information about the labels that the shared genes carry, 0 to 1: their part of the
        Jensen-Shannon divergence of the label profiles. NaN without labels.
    query_depth
        Median counts of a query cell on the shared genes.
    reference_depth
        Median counts of a reference cell on the shared genes.
    kept_fraction
        Mean fraction of a reference cell's counts that remain at the query's median depth, 0 to 1.
    """

    n_shared_genes: int
    n_genes: int
    shared_information: float
    query_depth: float
    reference_depth: float
    kept_fraction: float

    def to_dict(self) -> dict[str, int | float]:
        """Return the fields as plain values."""
        return asdict(self)

    def sentence(self) -> str:
        """Return the fields in words.

        Examples
        --------
        >>> print(QueryMatch(19, 20, float("nan"), 114.0, 90.0, 0.8).sentence())
        19 of 20 genes are shared. On these, the median cell of the query has 114 counts, and that of the reference 90.
        """
        shared = f"{counted_among(self.n_shared_genes, self.n_genes, 'gene', ('is', 'are'))} shared"
        if not np.isnan(self.shared_information):
            shared += f", with {self.shared_information:.0%} of the information about the labels"
        return (
            f"{shared}. On these, the median cell of the query has {counted(round(self.query_depth), 'count')}, and "
            f"that of the reference {self.reference_depth:,.0f}."
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "QueryMatch":
        """Return the summary that :meth:`to_dict` wrote."""
        return cls(**fields)


def summarize_query_match(
    reference: ReferenceCells, present: np.ndarray, query_depth: np.ndarray
) -> tuple[np.ndarray, QueryMatch]:
    """Summarise the fit of a query to the reference.

    Parameters
    ----------
    reference
        Counts and label codes of the reference.
    present
        Boolean, which of the model's genes the query has, shape (n_genes,).
    query_depth
        Counts of each query cell on the model's genes, shape (n_query,).

    Returns
    -------
    quantiles
        Percentiles of the query's depth, 0 to 100, shape (101,), float32.
    match
        The summary.

    Raises
    ------
    ValueError
        If no cell of the query has counts.
    """
    query_depth = query_depth[query_depth > 0]
    if not len(query_depth):
        raise ValueError(
            "A query to match must have cells with counts on the model's genes, but none has: `layer=` names another "
            "matrix."
        )
    quantiles = np.quantile(query_depth, np.linspace(0, 1, N_DEPTH_QUANTILES))
    depth = weighted_depth(reference.counts, present.astype(np.float32))
    information = np.nan
    if reference.n_labels:
        by_gene = js_divergence_by_gene(class_profiles(reference.counts, reference.codes, reference.n_labels))
        information = float(by_gene[present].sum() / by_gene.sum())
    kept = np.minimum(1, np.quantile(query_depth, 0.5) / np.maximum(depth, 1)).mean()
    return quantiles.astype(np.float32), QueryMatch(
        n_shared_genes=int(present.sum()),
        n_genes=len(present),
        shared_information=information,
        query_depth=float(np.median(query_depth)),
        reference_depth=float(np.median(depth)),
        kept_fraction=float(kept),
    )
