"""Cells that are empty, repeated, reordered or without unique names."""

import anndata as ad
import numpy as np
from scipy import sparse

from .case import Cases

CASES = Cases()
case = CASES.add


@case("cells without counts", right=True, rows=lambda n: np.r_[np.arange(n), [-1, -1, -1]])
def _(adata):
    empty = ad.AnnData(sparse.csr_matrix((3, adata.n_vars), dtype=np.float32), var=adata.var)
    return ad.concat([adata, empty], merge="same", index_unique="-")


@case("each cell twice", right=True, rows=lambda n: np.r_[np.arange(n), np.arange(n)])
def _(adata):
    return ad.concat([adata, adata], merge="same", index_unique="-")


@case("two cells of one name", right=True)
def _(adata):
    adata.obs_names = [adata.obs_names[1], *adata.obs_names[1:]]


@case("no cell at all", right=True, rows=lambda n: np.arange(0))
def _(adata):
    return adata[:0].copy()


@case("cells in another order", right=True, rows=lambda n: np.arange(n)[::-1])
def _(adata):
    return adata[::-1].copy()


@case("numbers as names of the cells, and an old annotation", right=True)
def _(adata):
    adata.obs_names = [str(i) for i in range(adata.n_obs)]
    adata.obs["hrca"] = np.nan
