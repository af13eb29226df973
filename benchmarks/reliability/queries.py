"""Changes of a query that users meet, or that break an assumption; the attack draws some of them at random."""

from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

Change = Callable[[ad.AnnData, np.random.Generator], ad.AnnData]

FORMATS = (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array, np.asarray)
DTYPES = ("int8", "uint16", "int32", "int64", "float16", "float64", ">f4", ">i4", "bool", "object", "str")
BAD_VALUES = (np.nan, np.inf, -1.0, 0.5, 1e30)
INDICES: dict[str, Callable[[int], object]] = {
    "integers": lambda n: pd.RangeIndex(n),
    "floats": lambda n: pd.Index(np.arange(n) / 2),
    "duplicates": lambda n: pd.Index([f"cell{i // 2}" for i in range(n)]),
    "nullable strings": lambda n: pd.Index(pd.array([f"cell{i}" for i in range(n)], dtype="string")),
    "categories": lambda n: pd.CategoricalIndex([f"cell{i}" for i in range(n)]),
    "slashes": lambda n: pd.Index([f"a/b|{i}" for i in range(n)]),
    "empty names": lambda n: pd.Index([""] * n),
}


def _dense(adata: ad.AnnData) -> np.ndarray:
    return adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)


def _with(adata: ad.AnnData, x: object) -> ad.AnnData:
    return ad.AnnData(x, obs=adata.obs, var=adata.var)


def another_format(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Store the counts in another format."""
    return _with(adata, FORMATS[rng.integers(len(FORMATS))](_dense(adata)))


def another_dtype(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Store the counts as another type."""
    return _with(adata, _dense(adata).astype(DTYPES[rng.integers(len(DTYPES))]))


def a_bad_value(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Put a value that is no count into one place."""
    x = _dense(adata).astype(np.float64)
    if x.size:
        x[rng.integers(x.shape[0]), rng.integers(x.shape[1])] = BAD_VALUES[rng.integers(len(BAD_VALUES))]
    return _with(adata, x)


def transformed(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Take the logarithm, scale, or binarise."""
    x = _dense(adata).astype(np.float64)
    return _with(adata, (np.log1p(x), x / 7, x - x.mean(), (x > 0) * 1.0, x * 0)[rng.integers(5)])


def unsorted_duplicates(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Store one entry for each molecule, in any order."""
    x = sparse.coo_array(_dense(adata).astype(np.int64))
    repeated = np.repeat(np.arange(x.nnz), x.data)
    rows, columns = (c[repeated] for c in x.coords)
    order = rng.permutation(len(rows))
    order = order[np.argsort(rows[order], kind="stable")]
    indptr = np.concatenate([[0], np.bincount(rows, minlength=x.shape[0]).cumsum()])
    return _with(adata, sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), columns[order], indptr), x.shape))


def fewer_cells(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Keep no cell, one, or some in any order; perhaps as a view."""
    kept = rng.permutation(adata.n_obs)[: (0, 1, 7, adata.n_obs)[rng.integers(4)]]
    return adata[kept] if rng.random() < 0.5 else adata[kept].copy()


def an_empty_cell(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Remove the counts of some cells."""
    x = _dense(adata).copy()
    x[rng.random(len(x)) < 0.3] = 0
    return _with(adata, x)


def other_genes(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Shuffle the genes, keep some, or none of them."""
    kept = rng.permutation(adata.n_vars)[: (0, 1, 30, 400, adata.n_vars)[rng.integers(5)]]
    return adata[:, kept].copy()


def renamed_genes(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Spell the genes in another way."""
    changes: tuple[Callable[[str], str], ...] = (
        str.lower,
        str.title,
        lambda name: f"GRCh38_{name}",
        lambda name: f" {name}",
        lambda name: name.replace("-", "."),
        lambda name: "GENE",
    )
    changed, change = adata.copy(), changes[rng.integers(len(changes))]
    changed.var_names = [change(name) for name in adata.var_names]
    return changed


def another_index(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Name the cells in another way."""
    changed = adata.copy()
    changed.obs.index = list(INDICES.values())[rng.integers(len(INDICES))](adata.n_obs)
    return changed


def in_a_layer(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Put the counts into a layer, and something else into X."""
    changed = adata.copy()
    changed.layers[("counts", "raw", "x/y")[rng.integers(3)]] = changed.X.copy()
    changed.X = np.log1p(_dense(adata).astype(np.float64)) if rng.random() < 0.7 else None
    return changed


def turned(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Swap cells and genes."""
    return adata.T.copy() if rng.random() < 0.3 else adata


CHANGES: tuple[Change, ...] = (
    another_format,
    another_dtype,
    a_bad_value,
    transformed,
    unsorted_duplicates,
    fewer_cells,
    an_empty_cell,
    other_genes,
    renamed_genes,
    another_index,
    in_a_layer,
    turned,
)
