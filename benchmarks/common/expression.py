"""Input that several methods ask for in their documentation: log-normalized counts and variable genes.

It needs scanpy and nothing of HRCA, because the environments of the published methods import it.
"""

import scanpy as sc
from anndata import AnnData

# Genes that the tutorials of scvi-tools and scanpy keep of a whole transcriptome.
N_TOP_GENES = 2000


def log_normalized(adata: AnnData) -> AnnData:
    """Copy obs, gene names and X, with X as log(1 + counts per 10,000)."""
    adata = AnnData(adata.X.copy(), obs=adata.obs.copy(), var=adata.var[[]].copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    # SingleR's C++ code rejects rows with unsorted columns
    adata.X.sort_indices()
    return adata


def variable_genes(adata: AnnData, n_genes: int = N_TOP_GENES) -> list[str]:
    """Name the `n_genes` most variable genes of raw counts, in the order of var; all genes if there are no more."""
    if adata.n_vars <= n_genes:
        return adata.var_names.tolist()
    normalized = log_normalized(adata)
    sc.pp.highly_variable_genes(normalized, n_top_genes=n_genes)
    return normalized.var_names[normalized.var["highly_variable"]].tolist()
