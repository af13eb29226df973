"""Random counts, and a model to predict them; untrained weights cost the same."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import hrca

N_REFERENCE_CELLS = 200
N_LABELS = 10
MIN_LABEL_CELLS = 10
# Cells whose dense random numbers are in memory at once.
N_BLOCK_CELLS = 1000


def random_counts(n_obs: int, n_genes: int, density: float, seed: int = 0) -> sparse.csr_matrix:
    """Draw counts without a dense array of all cells.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_genes
        Number of genes.
    density
        Fraction of the genes of each cell that are not zero; all genes have the same probability.
    seed
        Seed of the random numbers.

    Returns
    -------
    Counts, shape (n_obs, n_genes), float32.
    """
    rng = np.random.default_rng(seed)
    n_nonzero = round(density * n_genes)
    indices = np.empty((n_obs, n_nonzero), dtype=np.int32)
    for start in range(0, n_obs, N_BLOCK_CELLS):
        block = indices[start : start + N_BLOCK_CELLS]
        block[:] = rng.random((len(block), n_genes), dtype=np.float32).argpartition(n_nonzero, axis=1)[:, :n_nonzero]
        block.sort(axis=1)
    data = rng.geometric(0.5, indices.size).astype(np.float32)
    indptr = np.arange(0, indices.size + 1, n_nonzero)
    return sparse.csr_matrix((data, indices.ravel(), indptr), shape=(n_obs, n_genes))


def gene_names(n_genes: int) -> pd.Index:
    """Return the names of the model's genes, shape (n_genes,)."""
    return pd.Index([f"GENE{i}" for i in range(n_genes)])


def labelled_cells(counts: sparse.csr_matrix, n_labels: int = N_LABELS) -> AnnData:
    """Return cells with `n_labels` labels in ``obs["cell_type"]``."""
    n_obs, n_genes = counts.shape
    labels = [f"type {i % n_labels}" for i in range(n_obs)]
    return AnnData(counts, obs={"cell_type": labels}, var=pd.DataFrame(index=gene_names(n_genes)))


def laptop_model(counts: sparse.csr_matrix, n_labels: int = N_LABELS) -> hrca.HRCA:
    """Make a laptop-size model that is trained for one epoch on the first 200 cells, or ten of each label."""
    n_reference = max(N_REFERENCE_CELLS, MIN_LABEL_CELLS * n_labels)
    reference = labelled_cells(counts[:n_reference].copy(), n_labels)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.finetune(1, train_size=1.0, enable_progress_bar=False)
    return model
