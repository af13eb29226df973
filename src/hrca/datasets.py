"""Real data sets by name, from an installed package or from a local folder."""

import os
from pathlib import Path

import anndata as ad
import numpy as np
from scipy import sparse

from hrca._paths import user_path

__all__ = ["local", "pbmc68k"]

# Maximum distance of a recovered count from an integer. scanpy stores float32 values, rounded to three decimals; the
# largest distance in them is 0.112, at a count of 114. From 0.25 on the nearest integer would be ambiguous.
MAX_INTEGER_DISTANCE = 0.25

# Maximum relative error of a cell's recovered depth; the largest one in scanpy's data is 0.08 %, by the same rounding.
MAX_DEPTH_ERROR = 1e-3


def pbmc68k() -> ad.AnnData:
    """Return 700 labelled blood cells with their raw counts; no network is needed.

    scanpy ships them as ``pbmc68k_reduced``, a part of the 68,000 cells of :cite:t:`zheng2017massively`. Its ``.raw``
    holds log1p(counts per 10,000). After the logarithm is undone, the smallest positive value of each cell is one
    count, so all its values are divided by it.

    Returns
    -------
    AnnData of 700 cells x 765 genes: X with raw counts (CSR, float32), ``obs["bulk_labels"]`` with 10 cell types,
    ``obsm["X_umap"]`` with coordinates, shape (700, 2).

    Raises
    ------
    ValueError
        If a recovered count of the installed scanpy's data is further than 0.25 from an integer; or the depth of a cell
        differs from ``obs["n_counts"]`` by more than 0.1 %.

    Examples
    --------
    >>> import hrca
    >>> adata = hrca.datasets.pbmc68k()
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
    if distance > MAX_INTEGER_DISTANCE or depth_error > MAX_DEPTH_ERROR:
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
        The folder; None: the folder that the environment variable ``HRCA_DATA_DIR`` names.

    Returns
    -------
    The data set.

    Raises
    ------
    FileNotFoundError
        If no folder is named, or it has no such file.

    Examples
    --------
    >>> import tempfile
    >>> import hrca
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hrca.datasets.pbmc68k().write_h5ad(f"{folder}/blood.h5ad")
    ...     hrca.datasets.local("blood", folder).shape
    (700, 765)
    """
    folder = folder or os.environ.get("HRCA_DATA_DIR")
    if folder is None:
        raise FileNotFoundError("The folder with the data must be named by `folder=` or the variable HRCA_DATA_DIR.")
    path = user_path(folder) / f"{name}.h5ad"
    if not path.is_file():
        names = sorted(file.stem for file in user_path(folder).glob("*.h5ad"))
        raise FileNotFoundError(f"{path} must exist, but does not; {folder} has {names}.")
    return ad.read_h5ad(path)
