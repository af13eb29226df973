"""What several peers are given as input, where their documentation asks for it: log-normalized, variable genes."""

import scanpy as sc
from anndata import AnnData

# What scvi-tools' and scanpy's tutorials keep of a whole transcriptome.
N_TOP_GENES = 2000


def log_normalized(adata: AnnData) -> AnnData:
    """Copy of the counts as log(1 + counts per 10 000), with nothing else of them."""
    adata = AnnData(adata.X.copy(), obs=adata.obs.copy(), var=adata.var[[]].copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    # SingleR's C++ refuses rows whose columns are in no order
    adata.X.sort_indices()
    return adata


def variable_genes(reference: AnnData) -> list[str]:
    """Names of the ``N_TOP_GENES`` genes that vary most in a reference of counts; all of them if it has no more."""
    if reference.n_vars <= N_TOP_GENES:
        return reference.var_names.tolist()
    normalized = log_normalized(reference)
    sc.pp.highly_variable_genes(normalized, n_top_genes=N_TOP_GENES)
    return normalized.var_names[normalized.var["highly_variable"]].tolist()
