"""Vote of the 15 nearest reference cells in 50 principal components of log1p(counts per 10,000)."""

import anndata as ad
import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks.common.expression import log_normalized, variable_genes

from .task import Task, run

# scanpy's defaults of `pp.pca` and `pp.neighbors`.
N_COMPONENTS = 50
N_NEIGHBORS = 15


def train(task: Task) -> tuple[Pipeline, list[str]]:
    """Fit principal components and neighbours on the most variable genes."""
    genes = variable_genes(task.reference)
    reference = log_normalized(task.reference)[:, genes]
    n_components = min(N_COMPONENTS, min(reference.shape) - 1)
    pca = PCA(n_components, svd_solver="arpack", random_state=task.seed)
    pipeline = make_pipeline(pca, KNeighborsClassifier(min(N_NEIGHBORS, reference.n_obs)))
    return pipeline.fit(reference.X, task.reference.obs[task.labels_key].to_numpy()), genes


def predict(model: tuple[Pipeline, list[str]], query: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of most neighbours, and the fraction of neighbours that have it."""
    pipeline, genes = model
    probabilities = pipeline.predict_proba(log_normalized(query)[:, genes].X)
    return pipeline.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)


if __name__ == "__main__":
    run(train, predict, f"scikit-learn {sklearn.__version__}")
