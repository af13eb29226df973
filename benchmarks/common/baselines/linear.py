"""Linear classifiers on log1p(counts per 10,000), three variants.

``logistic_regression``; ``logistic_regression_thinned``, which is also trained on thinned copies of the reference; and
``linear_svm``. Cross-validation within the reference chooses the penalty.
"""

from dataclasses import dataclass

import anndata as ad
import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmarks.common.data import thin_counts, total_counts
from benchmarks.common.expression import log_normalized, variable_genes

from .task import Task, run

# scikit-learn's default, and the two decades below it.
PENALTIES = (0.01, 0.1, 1.0)
N_FOLDS = 3
# Thinned copies of the reference, each of which lengthens training.
N_COPIES = 3
# Minimum depth of a thinned cell, on average: HRCA's.
MIN_THINNED_DEPTH = 10


@dataclass(frozen=True)
class Model:
    """A fitted classifier and its genes."""

    classifier: GridSearchCV
    genes: list[str]


def thinned_copies(adata: ad.AnnData, rng: np.random.Generator) -> sparse.csr_matrix:
    """Stack the counts and thinned copies of them; a cell keeps a log-uniform fraction, of at least 10 counts."""
    counts = adata.X.tocsr()
    min_log_fraction = np.minimum(0, np.log(MIN_THINNED_DEPTH / total_counts(adata)))
    copies = [counts]
    for _ in range(N_COPIES):
        copies.append(thin_counts(counts, np.exp(rng.uniform(min_log_fraction, 0)), rng))
    return sparse.vstack(copies, format="csr")


def train(task: Task) -> Model:
    """Choose genes and penalty, and fit."""
    reference = task.reference
    genes = variable_genes(reference)
    labels = reference.obs[task.labels_key].to_numpy()
    folds, groups = StratifiedKFold(N_FOLDS, shuffle=True, random_state=task.seed), None
    cells = reference
    if task.variant == "logistic_regression_thinned":
        cells = ad.AnnData(thinned_copies(reference, np.random.default_rng(task.seed)), var=reference.var[[]])
        labels, groups = np.tile(labels, N_COPIES + 1), np.tile(np.arange(reference.n_obs), N_COPIES + 1)
        # copies of a cell must not be on both sides of a split
        folds = GroupKFold(N_FOLDS, shuffle=True, random_state=task.seed)
    classifier: ClassifierMixin
    if task.variant == "linear_svm":
        classifier, prefix = LinearSVC(random_state=task.seed), "linearsvc"
    else:
        classifier, prefix = LogisticRegression(max_iter=1000), "logisticregression"
    pipeline = make_pipeline(StandardScaler(with_mean=False), classifier)
    search = GridSearchCV(pipeline, {f"{prefix}__C": PENALTIES}, cv=folds, scoring="f1_macro")
    return Model(search.fit(log_normalized(cells)[:, genes].X, labels, groups=groups), genes)


def predict(model: Model, query: ad.AnnData) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the most probable label of each cell and its probability; a support vector machine has none."""
    x = log_normalized(query)[:, model.genes].X
    if not hasattr(model.classifier, "predict_proba"):
        return model.classifier.predict(x), None
    probabilities = model.classifier.predict_proba(x)
    return model.classifier.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)


if __name__ == "__main__":
    run(train, predict, f"scikit-learn {sklearn.__version__}")
