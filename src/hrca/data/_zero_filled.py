"""Detect absent genes that were filled in by zeros."""

import numpy as np
from scipy import sparse

from ._alignment import GeneAlignment, align
from ._target_genes import TargetGenes
from ._value_scale import MIN_SAMPLED_CELLS

# A gene that has this many expected counts in a query has some in every query that measured it.
MIN_EXPECTED_COUNTS = 10

# Maximum fraction of such genes without counts. It is at most 0.06 on eleven pairs of real data, also at a tenth of
# their depth.
MAX_UNEXPRESSED_FRACTION = 0.25

# Minimum number of such genes for a decision.
MIN_EXPECTED_GENES = 20


def check_zero_filled(sample: sparse.csr_array, alignment: GeneAlignment, target_genes: TargetGenes) -> None:
    """Check that absent genes were not filled in by zeros, which would count as measured.

    Parameters
    ----------
    sample
        Counts of some cells, shape (n_sampled_cells, n_vars).
    alignment
        Alignment of their genes.
    target_genes
        The model's genes.

    Raises
    ------
    ValueError
        If many genes have no count although ten or more are expected from the reference.
    """
    if target_genes.profile is None:
        return
    totals = np.asarray(align(sample, alignment).sum(axis=0)).ravel()
    profile = target_genes.profile * alignment.present
    expected = profile / max(profile.sum(), 1e-30) * totals.sum()
    is_expected = expected >= MIN_EXPECTED_COUNTS
    is_unexpressed = is_expected & (totals == 0)
    n_expected, n_unexpressed = is_expected.sum(), is_unexpressed.sum()
    if (
        sample.shape[0] >= MIN_SAMPLED_CELLS
        and n_expected >= MIN_EXPECTED_GENES
        and n_unexpressed > MAX_UNEXPRESSED_FRACTION * n_expected
    ):
        raise ValueError(
            f"Genes that were not measured must be absent, but {n_unexpressed:,} of {n_expected:,} genes that are "
            f"common in the reference have no count in {sample.shape[0]:,} cells, such as "
            f"{list(target_genes.names[is_unexpressed][:3])}: were zeros filled in? Leave them out: "
            "`adata = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()`."
        )
