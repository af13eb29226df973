"""Simulated reference and query of the speed benchmark: labels with profiles of their own, and a query of other depth.

Random counts without labels would make the work of HRCA depend on chance: it looks for clusters that fit no label.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

# Standard deviations of the logarithms of expression and depth: factors of 7 and 1.5.
SD_LOG_EXPRESSION, SD_LOG_DEPTH = 2.0, 0.4
# Fraction of the genes that differ between labels, and by how much.
MARKER_FRACTION, SD_LOG_MARKER = 0.1, 1.5
# A query's genes are caught at other rates than the reference's: RCTD found a standard deviation of .5 and more.
SD_LOG_PLATFORM = 0.5
# Counts of a reference cell by number of genes: about 30, 20, 10 and 5 % of the entries are then not zero.
KNOWN_N_GENES = np.array([300, 1_000, 5_000, 20_000])
KNOWN_DEPTHS = np.array([400.0, 500.0, 1_300.0, 1_600.0])
# Depth of a query, as a multiple of the reference's.
QUERY_DEPTHS = {"shallow": 0.1, "equal": 1.0, "deep": 3.0}
LABELS_KEY = "cell_type"


def reference_depth(n_genes: int) -> float:
    """Return the median counts of a reference cell, between the known numbers of genes by a power law."""
    return float(np.exp(np.interp(np.log(n_genes), np.log(KNOWN_N_GENES), np.log(KNOWN_DEPTHS))))


def simulated_profiles(n_labels: int, n_genes: int) -> np.ndarray:
    """Return the fraction of the counts by gene for each label, shape (n_labels, n_genes)."""
    rng = np.random.default_rng(n_genes)
    log_profiles = np.tile(rng.normal(0, SD_LOG_EXPRESSION, n_genes), (n_labels, 1))
    is_marker = rng.random((n_labels, n_genes)) < MARKER_FRACTION
    log_profiles[is_marker] += rng.normal(0, SD_LOG_MARKER, is_marker.sum())
    profiles = np.exp(log_profiles)
    return profiles / profiles.sum(axis=1, keepdims=True)


def simulated_cells(n_obs: int, profiles: np.ndarray, depth: float, seed: int) -> AnnData:
    """Draw cells of each label in turn.

    Parameters
    ----------
    n_obs
        Number of cells.
    profiles
        Fraction of the counts by gene, shape (n_labels, n_genes).
    depth
        Median counts of a cell.
    seed
        Seed of the random numbers.

    Returns
    -------
    Counts in X (CSR, float32), at least one in each cell, and labels in ``obs["cell_type"]``.
    """
    rng = np.random.default_rng([seed, n_obs])
    n_labels, n_genes = profiles.shape
    codes = np.arange(n_obs) % n_labels
    depths = np.maximum(1, rng.lognormal(np.log(depth), SD_LOG_DEPTH, n_obs)).astype(int)
    genes = np.empty(depths.sum(), dtype=np.int32)
    label_of_count = np.repeat(codes, depths)
    for label, profile in enumerate(profiles):
        of_label = label_of_count == label
        # the genes of single counts, so that no dense matrix is needed
        genes[of_label] = np.searchsorted(np.cumsum(profile)[:-1], rng.random(of_label.sum()), side="right")
    indptr = np.concatenate([[0], np.cumsum(depths)])
    counts = sparse.csr_matrix((np.ones(len(genes), dtype=np.float32), genes, indptr), shape=(n_obs, n_genes))
    counts.sum_duplicates()
    obs = pd.DataFrame({LABELS_KEY: [f"type {code}" for code in codes]}, index=[f"cell {i}" for i in range(n_obs)])
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(n_genes)]))


def simulated_query(n_obs: int, profiles: np.ndarray, depth: str, seed: int) -> AnnData:
    """Draw cells of another platform; `depth` is a key of :data:`QUERY_DEPTHS`."""
    rates = np.exp(np.random.default_rng([seed, 1]).normal(0, SD_LOG_PLATFORM, profiles.shape[1]))
    shifted = profiles * rates
    shifted /= shifted.sum(axis=1, keepdims=True)
    return simulated_cells(n_obs, shifted, QUERY_DEPTHS[depth] * reference_depth(profiles.shape[1]), seed + 1)


def write_cells(cells: Mapping[str, Any], folder: Path, batch_size: int) -> dict[str, int]:
    """Write ``reference.h5ad`` and ``query.h5ad``.

    Parameters
    ----------
    cells
        ``n_genes``, ``n_labels``, ``depth``, ``n_obs`` and ``n_reference``.
    folder
        Folder of both files.
    batch_size
        Number of cells in a batch of training.

    Returns
    -------
    The number of counts that are not zero, in the "query" and on average in a "batch" of the reference.
    """
    profiles = simulated_profiles(cells["n_labels"], cells["n_genes"])
    reference = simulated_cells(cells["n_reference"], profiles, reference_depth(cells["n_genes"]), 0)
    query = simulated_query(cells["n_obs"], profiles, cells["depth"], 0)
    reference.write_h5ad(folder / "reference.h5ad")
    query.write_h5ad(folder / "query.h5ad")
    return {"query": int(query.X.nnz), "batch": round(batch_size * reference.X.nnz / reference.n_obs)}
