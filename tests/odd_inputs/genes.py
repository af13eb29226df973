"""Genes with other names, of other species, or absent."""

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from .case import ENSEMBL, MOUSE, Cases

CASES = Cases()
case = CASES.add


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
    adata.var_names = [str(1000 + 7_919 * i) for i in range(adata.n_vars)]


@case("numbers in var_names, symbols in a column", right=True)
def _(adata):
    adata.var["symbol"] = adata.var_names.to_numpy()
    adata.var_names = [str(i) for i in range(adata.n_vars)]


@case("no names at all: 0, 1, 2")
def _(adata):
    return ad.AnnData(adata.X)


@case("lower case")
def _(adata):
    del adata.var["ensembl"]
    adata.var_names = adata.var_names.str.lower()


@case("lower case, with human Ensembl ids beside them", right=True)
def _(adata):
    adata.var_names = adata.var_names.str.lower()


@case("C1ORF for C1orf: another case of some names", right=True)
def _(adata):
    adata.var_names = adata.var_names.str.upper()


@case("symbols of mouse (Gad1), for a model of human")
def _(adata):
    del adata.var["ensembl"]
    adata.var_names = adata.var_names.str.capitalize()


@case("symbols of human (GAD1), for a model of mouse", model=MOUSE)
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


@case("the genome before each name, by Seurat (GRCh38-ACTB)", right=True)
def _(adata):
    adata.var_names = "GRCh38-" + adata.var_names


@case("names by R (HLA.DRA)", right=True)
def _(adata):
    adata.var_names = adata.var_names.str.replace("-", ".")


@case("dates by a spreadsheet (1-Mar) in place of genes that the model does not have", right=True)
def _(adata):
    return with_features(adata, ["1-Mar", "2-Sep", "1-Dec"])


@case("positions in a shuffled table, symbols in a column", right=True)
def _(adata):
    adata = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    adata.var = pd.DataFrame({"features": adata.var_names.to_numpy()}, index=[f"V{i + 1}" for i in range(adata.n_vars)])
    return adata


@case("genes as a categorical index", right=True)
def _(adata):
    adata.var.index = pd.CategoricalIndex(adata.var_names)


@case("genes as nullable strings", right=True)
def _(adata):
    adata.var.index = pd.Index(adata.var_names.astype("string"))


@case("types of features with the word GEX", right=True)
def _(adata):
    peaks = with_features(adata, ["chr1-10109-10357", "chr1-180730-181630"])
    peaks.var["feature_types"] = ["GEX"] * adata.n_vars + ["ATAC"] * 2
    return peaks


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


@case("genes twice that the model does not have", right=True)
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


@case("only proteins")
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
