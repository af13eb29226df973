"""Counts beside other matrices."""

import anndata as ad
import numpy as np
import scanpy as sc
from scipy import sparse

import hrca

from .case import Cases, dense, log, scale

CASES = Cases()
case = CASES.add


@case('log-normalised X, counts in layers["counts"]', right=True)
def _(adata):
    adata.layers["counts"] = adata.X.copy()
    log(adata)


@case('log-normalised X, counts in layers["my_umis"]', right=True)
def _(adata):
    adata.layers["my_umis"] = adata.X.copy()
    log(adata)


@case("z-scores in X, counts in raw", right=True)
def _(adata):
    adata.raw = adata
    scale(adata)


@case("variable genes in X, log-normalised; counts of all genes in raw", right=True)
def _(adata):
    adata.raw = adata
    log(adata)
    return adata[:, ::5].copy()


@case("log-normalised raw, as scanpy's tutorial has it, z-scores in X", right=False)
def _(adata):
    log(adata)
    adata.raw = adata
    sc.pp.scale(dense(adata))


@case('log-normalised X and raw, counts in layers["counts"]', right=True)
def _(adata):
    adata.layers["counts"] = adata.X.copy()
    log(adata)
    adata.raw = adata


@case("counts in a layer and, the same, in raw", right=True)
def _(adata):
    adata.raw = adata
    adata.layers["umi"] = adata.X.copy()
    log(adata)


@case("binarised X, counts in a layer", right=True)
def _(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X.data[:] = 1


@case("zeros in X, counts in a layer", right=True)
def _(adata):
    adata.layers["counts"] = adata.X
    adata.X = sparse.csr_matrix(adata.shape, dtype=np.float32)


@case("X empty, counts in a layer", right=True)
def _(adata):
    return ad.AnnData(obs=adata.obs, var=adata.var, layers={"counts": adata.X})


@case("X empty, and no layer")
def _(adata):
    return ad.AnnData(obs=adata.obs, var=adata.var)


@case("counts in X and others, corrected and rounded, in a layer", right=True)
def _(adata):
    adata.layers["soupx"] = (adata.X * 0.9).rint()


@case('log-normalised X, layers["counts"] and a corrected layer', right=True)
def _(adata):
    adata.layers["soupx"] = (adata.X * 0.9).rint()
    adata.layers["counts"] = adata.X.copy()
    log(adata)


@case("log-normalised X, two layers with different counts")
def _(adata):
    adata.layers["a"] = adata.X.copy()
    adata.layers["b"] = (adata.X * 0.9).rint()
    log(adata)


@case("log-normalised X, spliced and unspliced counts")
def _(adata):
    adata.layers["spliced"] = (adata.X * 0.7).rint()
    adata.layers["unspliced"] = adata.X - adata.layers["spliced"]
    log(adata)


@case("counts in X beside spliced and unspliced counts", right=True)
def _(adata):
    adata.layers["spliced"] = (adata.X * 0.7).rint()
    adata.layers["unspliced"] = adata.X - adata.layers["spliced"]


@case('`layer="X"` although X is log-normalised and a layer has counts', layer="X")
def _(adata):
    adata.layers["counts"] = adata.X.copy()
    log(adata)


@case('`layer="counts"` without such a layer', layer="counts")
def _(adata):
    adata.layers["raw_counts"] = adata.X.copy()


@case('`layer="raw"`, with the counts there', right=True, layer="raw")
def _(adata):
    adata.raw = adata
    log(adata)


@case("log-normalised X, counts recovered by `hrca.pp.recover_counts`", right=True)
def _(adata):
    log(adata)
    adata.layers["counts"] = hrca.pp.recover_counts(adata)
