"""Real data by name: what an installed package ships, and a local folder."""

import os
from pathlib import Path

import anndata as ad
import numpy as np
from scipy import sparse

# Largest distance of a recovered count from an integer that rounding in .raw explains (float32 of values printed with
# three decimals; 0.112 at a count of 114 is the largest seen); from 0.25 on it is no longer clear which integer.
MAX_ROUNDING = 0.25

# Largest relative error of a cell's depth that follows from one count: 0.08 % is the largest seen, again rounding.
MAX_DEPTH_ERROR = 1e-3


def pbmc68k() -> ad.AnnData:
    """Return 700 labelled blood cells with their counts; no network needed.

    scanpy ships them as ``pbmc68k_reduced`` (10x Genomics; Zheng et al., Nat Commun 2017). Its ``.raw`` holds
    log1p of counts per 10,000, and the smallest positive value of a cell is one count: dividing by it gives the counts.
    That is checked: each must be within 0.25 of an integer, and the depth that follows from one count agrees with
    ``obs["n_counts"]`` to 0.1 %.

    Returns
    -------
    AnnData, 700 cells x 765 genes: X raw counts (CSR, float32), ``obs["bulk_labels"]`` with 10 types,
    ``obsm["X_umap"]``.

    Raises
    ------
    ValueError
        If what the installed scanpy ships does not hold counts that can be recovered.

    Examples
    --------
    >>> adata = pbmc68k()
    >>> adata.shape, int(adata.X.sum(axis=1).min())
    ((700, 765), 342)
    """
    import scanpy as sc

    shipped = sc.datasets.pbmc68k_reduced()
    normalized = sparse.csr_matrix(shipped.raw.X).astype(np.float64).expm1()
    one_count = np.minimum.reduceat(normalized.data, normalized.indptr[:-1])
    counts = sparse.csr_matrix(sparse.diags_array(1 / one_count) @ normalized)
    rounded = np.rint(counts.data)
    distance = np.abs(counts.data - rounded).max()
    depth_error = np.abs(1e4 / one_count / shipped.obs["n_counts"].to_numpy() - 1).max()
    if distance > MAX_ROUNDING or depth_error > MAX_DEPTH_ERROR:
        raise ValueError(
            "scanpy's `pbmc68k_reduced` must hold log1p(counts per 10,000) in `.raw`, but recovered counts are up to "
            f"{distance:.2f} from an integer and their depths up to {depth_error:.1%} off. "
            "Install the scanpy version of constraints.txt."
        )
    counts.data = rounded
    return ad.AnnData(
        counts.astype(np.float32),
        obs=shipped.obs[["bulk_labels"]].copy(),
        var=shipped.raw.var[[]].copy(),
        obsm={"X_umap": shipped.obsm["X_umap"].copy()},
    )


def local(name: str, folder: str | Path | None = None) -> ad.AnnData:
    """Read a data set from a folder of h5ad files.

    Parameters
    ----------
    name
        Name of the file without ``.h5ad``.
    folder
        The folder; the environment variable ``HRCA_DATA_DIR`` names it if None.

    Returns
    -------
    The data set.

    Raises
    ------
    FileNotFoundError
        If no folder is named, or it has no such file.
    """
    folder = folder or os.environ.get("HRCA_DATA_DIR")
    if folder is None:
        raise FileNotFoundError("A folder with the data must be named: `folder=`, or the variable HRCA_DATA_DIR.")
    path = Path(folder) / f"{name}.h5ad"
    if not path.is_file():
        there = sorted(file.stem for file in Path(folder).glob("*.h5ad"))
        raise FileNotFoundError(f"{path} must exist, but does not; {folder} has {there}.")
    return ad.read_h5ad(path)
