"""The 15 nearest cells of the reference in 50 principal components of log1p(counts per 10,000)."""

import anndata as ad
import common
import numpy as np
import sklearn
from expression import log_normalized, variable_genes
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline

# scanpy's defaults of `pp.pca` and `pp.neighbors`.
N_COMPONENTS = 50
N_NEIGHBORS = 15


def train(task: common.Task) -> tuple[Pipeline, list[str]]:
    """Fit components and neighbours on the most variable genes."""
    genes = variable_genes(task.reference)
    reference = log_normalized(task.reference)[:, genes]
    n_components = min(N_COMPONENTS, min(reference.shape) - 1)
    pca = PCA(n_components, svd_solver="arpack", random_state=task.seed)
    pipeline = make_pipeline(pca, KNeighborsClassifier(min(N_NEIGHBORS, reference.n_obs)))
    return pipeline.fit(reference.X, task.reference.obs[task.labels_key].to_numpy()), genes


def predict(model: tuple[Pipeline, list[str]], query: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Label cells; the confidence is the share of the neighbours that agree."""
    pipeline, genes = model
    probabilities = pipeline.predict_proba(log_normalized(query)[:, genes].X)
    return pipeline.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)


if __name__ == "__main__":
    common.run(train, predict, f"scikit-learn {sklearn.__version__}")
