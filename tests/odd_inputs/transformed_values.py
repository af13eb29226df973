"""Values that are not counts, with no counts elsewhere."""

import numpy as np
import scanpy as sc
from scipy import sparse

from .case import Cases, log, scale

CASES = Cases()
case = CASES.add


@case("log1p of counts per 10,000 in X")
def _(adata):
    log(adata)


@case("counts per 10,000 in X, not logged")
def _(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)


@case("counts per million in X")
def _(adata):
    sc.pp.normalize_total(adata, target_sum=1e6)


@case("fractions of the cell's counts in X")
def _(adata):
    sc.pp.normalize_total(adata, target_sum=1)


@case("log1p of counts per median cell in X (scanpy's default)")
def _(adata):
    log(adata, None)


@case("log2(x + 1) of counts per 10,000 in X")
def _(adata):
    log(adata, base=2)


@case("log10(x + 1) of counts per 10,000 in X")
def _(adata):
    log(adata, base=10)


@case("log1p of the counts themselves in X")
def _(adata):
    adata.X = adata.X.log1p()


@case("logged twice")
def _(adata):
    log(adata)
    adata.X = adata.X.log1p()


@case("square roots of the counts in X")
def _(adata):
    adata.X = adata.X.sqrt()


@case("logged by size factors of each cell (scran)")
def _(adata):
    factors = np.random.default_rng(0).lognormal(0, 0.3, adata.n_obs)
    adata.X = sparse.csr_matrix(adata.X.multiply(1 / factors[:, None])).log1p()


@case("log-normalised, then a third of the genes kept")
def _(adata):
    log(adata)
    return adata[:, ::3].copy()


@case("a panel of genes, normalised within itself")
def _(adata):
    adata = adata[:, ::10].copy()
    log(adata)
    return adata


@case("one cell, log-normalised")
def _(adata):
    log(adata)
    return adata[:1].copy()


@case("z-scores in X")
def _(adata):
    scale(adata)


@case("scaled without centring")
def _(adata):
    log(adata)
    sc.pp.scale(adata, zero_center=False)


@case("centred log ratios (CLR) in X")
def _(adata):
    x = np.log1p(adata.X.toarray())
    adata.X = x - x.mean(axis=1, keepdims=True)


@case("Pearson residuals in X")
def _(adata):
    adata = adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()
    sc.experimental.pp.normalize_pearson_residuals(adata)
    adata.uns.clear()
    return adata


@case("imputed or denoised values in X")
def _(adata):
    x = adata.X.toarray()
    left, values, right = np.linalg.svd(x, full_matrices=False)
    adata.X = np.abs(left[:, :10] * values[:10] @ right[:10]).astype(np.float32)


@case("counts corrected for ambient RNA, with fractions")
def _(adata):
    adata.X.data[::7] *= 0.83


@case("expected counts (RSEM, kallisto), all fractions")
def _(adata):
    adata.X.data *= np.random.default_rng(0).uniform(0.6, 1.4, adata.X.nnz).astype(np.float32)


@case("counts per 10,000, rounded to integers")
def _(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    adata.X = adata.X.rint()


@case("binarised: 0 and 1")
def _(adata):
    adata.X.data[:] = 1


@case("one NaN among the counts")
def _(adata):
    adata.X.data[-1] = np.nan


@case("one infinite value among the counts")
def _(adata):
    adata.X.data[-1] = np.inf


@case("one negative value among the counts")
def _(adata):
    adata.X.data[-1] = -1


@case("one fraction among the counts")
def _(adata):
    adata.X.data[-1] = 0.5


@case("only zeros")
def _(adata):
    adata.X = sparse.csr_matrix(adata.shape, dtype=np.float32)
