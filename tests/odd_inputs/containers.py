"""Counts of other types, and in other containers."""

import anndata as ad
import numpy as np
from scipy import sparse

from .case import Cases, log

CASES = Cases()
case = CASES.add


@case("integers (int64)", right=True)
def _(adata):
    adata.X = adata.X.astype(np.int64)


@case("small integers (uint16), dense", right=True)
def _(adata):
    adata.X = adata.X.toarray().astype(np.uint16)


@case("double precision, dense, by columns (Fortran order)", right=True)
def _(adata):
    adata.X = np.asfortranarray(adata.X.toarray().astype(np.float64))


@case("sparse by columns (CSC)", right=True)
def _(adata):
    adata.X = adata.X.tocsc()


@case("sparse, with stored zeros", right=True)
def _(adata):
    dense = np.argwhere(adata.X.toarray()[:, :50] >= 0)
    rows, columns = adata.X.nonzero()
    data = np.r_[adata.X.data, np.zeros(len(dense), dtype=np.float32)]
    where = np.r_[rows, dense[:, 0]], np.r_[columns, dense[:, 1]]
    adata.X = sparse.coo_matrix((data, where), shape=adata.shape).tocsr()


@case("sparse, with an entry for each molecule", right=True)
def _(adata):
    times = adata.X.data.astype(int)
    ends = np.cumsum(np.asarray(adata.X.sum(axis=1)).ravel()).astype(int)
    ones = np.ones(times.sum(), dtype=np.float32)
    adata.X = sparse.csr_matrix((ones, np.repeat(adata.X.indices, times), np.r_[0, ends]), adata.shape)


@case("the other byte order, sparse", right=True)
def _(adata):
    adata.X = sparse.csr_matrix((adata.X.data.astype(">f4"), adata.X.indices, adata.X.indptr), adata.shape)


@case("the other byte order, dense", right=True)
def _(adata):
    adata.X = adata.X.toarray().astype(">i4")


@case("numbers as Python objects", right=True)
def _(adata):
    adata.X = adata.X.toarray().astype(int).astype(object)


@case("numbers as text")
def _(adata):
    adata.X = adata.X.toarray().astype(int).astype(str)


@case("counts, and a layer of text", right=True)
def _(adata):
    adata.layers["text"] = adata.X.toarray().astype(str)


@case("one value of 1e30 (a missing one)")
def _(adata):
    adata.X.data[0] = 1e30


@case("on disk (backed)", right=True)
def _(adata, folder):
    adata.write_h5ad(folder / "query.h5ad")
    return ad.read_h5ad(folder / "query.h5ad", backed="r")


@case("on disk, log-normalised X, counts in a layer", right=True)
def _(adata, folder):
    adata.layers["counts"] = adata.X.copy()
    log(adata)
    adata.write_h5ad(folder / "query.h5ad")
    return ad.read_h5ad(folder / "query.h5ad", backed="r")


@case("on disk, log-normalised X, counts in raw", right=True)
def _(adata, folder):
    adata.raw = adata
    log(adata)
    adata.write_h5ad(folder / "query.h5ad")
    return ad.read_h5ad(folder / "query.h5ad", backed="r")


@case("on disk, log-normalised")
def _(adata, folder):
    log(adata)
    adata.write_h5ad(folder / "query.h5ad")
    return ad.read_h5ad(folder / "query.h5ad", backed="r")


@case("a view", right=True)
def _(adata):
    return ad.concat([adata, adata], index_unique="-", merge="same")[: adata.n_obs]
