"""Linear classifiers on log1p(counts per 10,000), three variants.

``logistic_regression``, ``logistic_regression_thinned`` (the same, trained on thinned copies of
the reference too) and ``linear_svm``. The penalty is chosen by cross-validation within the reference.
"""

from dataclasses import dataclass

import anndata as ad
import common
import numpy as np
import sklearn
from expression import log_normalized, variable_genes
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

# scikit-learn's default and two decades below.
PENALTIES = (0.01, 0.1, 1.0)
N_FOLDS = 3
# Thinned copies of the reference, each of which lengthens training; and the fewest counts of a thinned cell, HRCA's.
N_COPIES = 3
MIN_CALIBRATION_DEPTH = 10


@dataclass(frozen=True)
class Model:
    """A fitted classifier and the genes it sees."""

    classifier: GridSearchCV
    genes: list[str]


def thinned_copies(adata: ad.AnnData, rng: np.random.Generator) -> sparse.csr_matrix:
    """The counts, and copies of them whose cells keep a share that is log-uniform between 10 counts and all."""
    counts = adata.X.tocsr()
    totals = np.asarray(counts.sum(axis=1)).ravel()
    copies = [counts]
    for _ in range(N_COPIES):
        lowest = np.minimum(0, np.log(MIN_CALIBRATION_DEPTH / totals))
        kept = np.exp(rng.uniform(lowest, 0))
        copy = counts.copy()
        copy.data = rng.binomial(copy.data.astype(int), np.repeat(kept, np.diff(copy.indptr))).astype(np.float32)
        copies.append(copy)
    return sparse.vstack(copies, format="csr")


def train(task: common.Task) -> Model:
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
    if task.variant == "linear_svm":
        classifier, prefix = LinearSVC(random_state=task.seed), "linearsvc"
    else:
        classifier, prefix = LogisticRegression(max_iter=1000), "logisticregression"
    pipeline = make_pipeline(StandardScaler(with_mean=False), classifier)
    search = GridSearchCV(pipeline, {f"{prefix}__C": PENALTIES}, cv=folds, scoring="f1_macro")
    return Model(search.fit(log_normalized(cells)[:, genes].X, labels, groups=groups), genes)


def predict(model: Model, query: ad.AnnData) -> tuple[np.ndarray, np.ndarray | None]:
    """Label cells; a support vector machine gives no probabilities."""
    x = log_normalized(query)[:, model.genes].X
    if not hasattr(model.classifier, "predict_proba"):
        return model.classifier.predict(x), None
    probabilities = model.classifier.predict_proba(x)
    return model.classifier.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)


if __name__ == "__main__":
    common.run(train, predict, f"scikit-learn {sklearn.__version__}")
