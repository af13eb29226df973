"""Wrong and odd inputs, each made from a clean query of real cells: what users have, and what befalls them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import hrca

# The model's gene names are these (of the clean query's var), or its symbols as a mouse's are written.
SYMBOLS, ENSEMBL, MOUSE = "symbols", "ensembl", "mouse"


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    name
        What it is, for the table.
    make
        Makes it from a copy of the clean query, and a folder.
    is_right
        Whether it gets the clean query's labels; else it is refused.
    model
        How the model's genes are named.
    layer
        What the user says of the layer.
    rows
        Which of the clean query's cells its cells are; -1 for none; None: the same.
    """

    name: str
    make: Callable[[ad.AnnData, Path], ad.AnnData]
    is_right: bool
    model: str = SYMBOLS
    layer: str | None = None
    rows: Callable[[int], np.ndarray] | None = field(default=None)


CASES: dict[str, Case] = {}


def case(name: str, *, right: bool = False, **settings):
    """Add a case; the function makes it, in place or by returning another."""

    def add(make):
        CASES[name] = Case(name, lambda adata, folder: _made(make, adata, folder), right, **settings)
        return make

    return add


def _made(make, adata: ad.AnnData, folder: Path) -> ad.AnnData:
    made = make(adata, folder) if make.__code__.co_argcount == 2 else make(adata)
    return adata if made is None else made


def log(adata: ad.AnnData, target_sum: float | None = 1e4, base: float | None = None) -> None:
    adata.X = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=target_sum)
    sc.pp.log1p(adata, base=base)
    adata.uns.clear()


def dense(adata: ad.AnnData) -> ad.AnnData:
    adata.X = adata.X.toarray()
    return adata


def scale(adata: ad.AnnData) -> None:
    log(adata)
    sc.pp.scale(dense(adata), max_value=10)


# --- scales, without counts anywhere


@case("log1p of counts per 10,000 in X")
def _(adata):
    log(adata)


@case("counts per 10,000 in X, not logged")
def _(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)


@case("counts per million in X")
def _(adata):
    sc.pp.normalize_total(adata, target_sum=1e6)


@case("shares of the cell's counts in X")
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


@case("log-normalised, then 1,000 variable genes kept")
def _(adata):
    log(adata)
    return adata[:, ::3].copy()


@case("a panel of genes normalised within itself")
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


@case("nothing but zeros")
def _(adata):
    adata.X = sparse.csr_matrix(adata.shape, dtype=np.float32)


# --- counts beside something else


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


@case('`layer="counts"` and there is none', layer="counts")
def _(adata):
    adata.layers["raw_counts"] = adata.X.copy()


@case('`layer="raw"`, with the counts there', right=True, layer="raw")
def _(adata):
    adata.raw = adata
    log(adata)


@case("log-normalised X, counts had back by `hrca.pp.recover_counts`", right=True)
def _(adata):
    log(adata)
    adata.layers["counts"] = hrca.pp.recover_counts(adata)


# --- containers


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


# --- genes


@case("genes in another order", right=True)
def _(adata):
    return adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()


@case("Ensembl ids in var_names, symbols in feature_name (CELLxGENE)", right=True)
def _(adata):
    adata.var["feature_name"] = pd.Categorical(adata.var_names)
    adata.var_names = adata.var.pop("ensembl").to_numpy()


@case("symbols in var_names, Ensembl ids in gene_ids (10x), for a model of Ensembl ids", right=True, model=ENSEMBL)
def _(adata):
    adata.var["gene_ids"] = adata.var.pop("ensembl")


@case("Ensembl ids with versions, for a model of Ensembl ids", right=True, model=ENSEMBL)
def _(adata):
    adata.var_names = adata.var.pop("ensembl").to_numpy() + [f".{i % 19 + 1}" for i in range(adata.n_vars)]


@case("Ensembl ids with versions in a column, numbers in var_names", right=True, model=ENSEMBL)
def _(adata):
    adata.var["gene_id"] = [f"{name}.{i % 19 + 1}" for i, name in enumerate(adata.var.pop("ensembl"))]
    adata.var_names = [str(i) for i in range(adata.n_vars)]


@case("Ensembl ids alone, for a model of symbols")
def _(adata):
    adata.var_names = adata.var.pop("ensembl").to_numpy()


@case("symbols alone, for a model of Ensembl ids", model=ENSEMBL)
def _(adata):
    del adata.var["ensembl"]


@case("Ensembl ids of mouse, for a model of human Ensembl ids", model=ENSEMBL)
def _(adata):
    adata.var_names = adata.var.pop("ensembl").str.replace("ENSG", "ENSMUSG").to_numpy()


@case("Ensembl transcripts")
def _(adata):
    adata.var_names = adata.var.pop("ensembl").str.replace("ENSG", "ENST").to_numpy()


@case("Entrez numbers")
def _(adata):
    del adata.var["ensembl"]
    adata.var_names = [str(1000 + 7 * i) for i in range(adata.n_vars)]


@case("numbers in var_names, symbols in a column", right=True)
def _(adata):
    adata.var["symbol"] = adata.var_names.to_numpy()
    adata.var_names = [str(i) for i in range(adata.n_vars)]


@case("no names at all: 0, 1, 2")
def _(adata):
    return ad.AnnData(adata.X)


@case("small letters")
def _(adata):
    del adata.var["ensembl"]
    adata.var_names = adata.var_names.str.lower()


@case("small letters, with human Ensembl ids beside them", right=True)
def _(adata):
    adata.var_names = adata.var_names.str.lower()


@case("C1ORF for C1orf: another case of some names", right=True)
def _(adata):
    adata.var_names = adata.var_names.str.upper()


@case("written as a mouse's (Gad1), for a model of human")
def _(adata):
    del adata.var["ensembl"]
    adata.var_names = adata.var_names.str.capitalize()


@case("written as human (GAD1), for a model of mouse", model=MOUSE)
def _(adata):
    del adata.var["ensembl"]


@case("cells of a mouse section, for a model of human blood")
def _(adata, folder):
    rng = np.random.default_rng(0)
    mouse = ["Gad1", "Slc17a6", "Mbp", "Aqp4", "Cx3cr1", "Pdgfra", "Cd24a", "Ttn", "Sst", "Vip", "Pvalb", "Ace2"]
    return ad.AnnData(sparse.csr_matrix(rng.poisson(2.0, (80, 12)).astype(np.float32)), var=pd.DataFrame(index=mouse))


@case("the genome before each name (GRCh38_ACTB)", right=True)
def _(adata):
    adata.var_names = "GRCh38_" + adata.var_names


@case("blanks around the names", right=True)
def _(adata):
    adata.var_names = " " + adata.var_names + " "


@case("human and mouse cells of one run (GRCh38_, mm10___)")
def _(adata):
    return beside(adata, "GRCh38_" + adata.var_names, "mm10___" + adata.var_names.str.capitalize())


@case("human and mouse Ensembl ids", model=ENSEMBL)
def _(adata):
    ensembl = pd.Index(adata.var.pop("ensembl"))
    return beside(adata, ensembl, ensembl.str.replace("ENSG", "ENSMUSG"))


@case("human and mouse symbols (ACTB, Actb)")
def _(adata):
    return beside(adata, adata.var_names, adata.var_names.str.capitalize() + "")


def beside(adata: ad.AnnData, left: pd.Index, right: pd.Index) -> ad.AnnData:
    left_half = ad.AnnData(adata.X, obs=adata.obs, var=pd.DataFrame(index=left))
    right_half = ad.AnnData(adata.X, obs=adata.obs, var=pd.DataFrame(index=right))
    return ad.concat([left_half, right_half[:, ~right.isin(left)]], axis=1, merge="same")


@case("genes as rows, cells as columns")
def _(adata):
    return adata.T.copy()


@case("genes as rows, without names of the cells")
def _(adata):
    turned = adata.T.copy()
    turned.var_names = [str(i) for i in range(turned.n_vars)]
    return turned


@case("nine shared genes")
def _(adata):
    others = [f"NOGENE{i:05}" for i in range(adata.n_vars - 9)]
    del adata.var["ensembl"]
    adata.var_names = [*adata.var_names[:9], *others]


@case("no shared gene")
def _(adata):
    del adata.var["ensembl"]
    adata.var_names = [f"NOGENE{i:05}" for i in range(adata.n_vars)]


@case("a panel of 300 genes, and zeros for the model's others")
def _(adata):
    panel = np.random.default_rng(0).permutation(adata.n_vars) < 300
    adata.X = sparse.csr_matrix(adata.X.multiply(panel[None, :]))


@case("a gene of the model twice")
def _(adata):
    adata.var_names = [*adata.var_names[:-1], adata.var_names[0]]


@case("genes twice that the model does not know", right=True)
def _(adata):
    return with_features(adata, ["LINC00001", "LINC00001", "LINC00002"])


@case("probes of the platform among the genes (Blank-1, NegControlProbe_1)", right=True)
def _(adata):
    names = ["Blank-1", "NegControlProbe_00001", "NegPrb3", "antisense_ACTB", "UnassignedCodeword_0001"]
    return with_features(adata, names)


@case("proteins among the genes (CD4_TotalSeqB)", right=True)
def _(adata):
    return with_features(adata, ["CD4_TotalSeqB", "CD8_TotalSeqB", "HTO_1"])


@case("proteins with the names of genes, told apart by feature_types", right=True)
def _(adata):
    proteins = with_features(adata, list(adata.var_names[:5]))
    return proteins[:, np.roll(np.arange(proteins.n_vars), 5)].copy()


@case("nothing but proteins")
def _(adata):
    names = [f"{name}_TotalSeqB" for name in ("CD3", "CD4", "CD8", "CD14", "CD16", "CD19", "CD56")]
    return ad.AnnData(adata.X[:, :7], obs=adata.obs, var=pd.DataFrame(index=names))


def with_features(adata: ad.AnnData, names: list[str]) -> ad.AnnData:
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(3.0, (adata.n_obs, len(names))).astype(np.float32))
    is_gene = [True] * adata.n_vars + [False] * len(names)
    var = pd.DataFrame(index=[*adata.var_names, *names])
    if set(names) & set(adata.var_names):
        var["feature_types"] = np.where(is_gene, "Gene Expression", "Antibody Capture")
    return ad.AnnData(sparse.hstack([adata.X, counts], format="csr"), obs=adata.obs, var=var)


# --- cells


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
