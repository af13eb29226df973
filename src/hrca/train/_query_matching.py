"""Summary of a query's genes and depths against the reference's."""

import numpy as np

from hrca.data._row_reader import weighted_depth
from hrca.module._module import N_DEPTH_QUANTILES
from hrca.module._profiles import class_profiles, js_divergence_by_gene


def summarize_query_match(
    counts,
    codes: np.ndarray | None,
    n_labels: int,
    present: np.ndarray,
    query_depth: np.ndarray,
) -> tuple[np.ndarray, dict[str, int | float]]:
    """Describe how a query's genes and depths lie to a reference's.

    Parameters
    ----------
    counts
        Raw counts of the reference, shape (n_obs, n_genes), sparse or dense, in memory or on disk.
    codes
        Index of each cell's label, shape (n_obs,); n_labels for a cell without; None without labels.
    n_labels
        Number of labels.
    present
        Which of the genes the query has, shape (n_genes,).
    query_depth
        Counts of each query cell on them.

    Returns
    -------
    The percentiles of the query's depth, 0 to 100, and the entries that :meth:`hrca.HRCA.match_query` returns.

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
    depth = weighted_depth(counts, present.astype(np.float32))
    information = np.nan
    if codes is not None:
        by_gene = js_divergence_by_gene(class_profiles(counts, codes, n_labels))
        information = float(by_gene[present].sum() / by_gene.sum())
    kept = np.minimum(1, np.quantile(query_depth, 0.5) / np.maximum(depth, 1)).mean()
    return quantiles.astype(np.float32), {
        "n_shared_genes": int(present.sum()),
        "n_genes": len(present),
        "shared_information": information,
        "query_depth": float(np.median(query_depth)),
        "reference_depth": float(np.median(depth)),
        "share_kept": float(kept),
    }
