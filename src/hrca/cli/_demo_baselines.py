"""The baselines of the demo."""

import numpy as np
import pandas as pd
import scanpy as sc

from hrca.module._profiles import class_profiles

from ._demo_pairs import ReferenceQueryPair


def logistic_regression(pair: ReferenceQueryPair) -> np.ndarray:
    """Label the query by logistic regression on log1p(counts per 10,000) of the shared genes.

    Cross-validation within the reference selects the penalty, and whether the genes are scaled.

    Parameters
    ----------
    pair
        Reference and query.

    Returns
    -------
    Predicted labels, shape (n_obs of the query,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    genes = _shared_genes(pair)
    normalized = [adata[:, genes].copy() for adata in (pair.reference, pair.query)]
    for adata in normalized:
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    steps = [("scale", StandardScaler(with_mean=False)), ("classify", LogisticRegression(max_iter=1000))]
    choices = {"scale": [StandardScaler(with_mean=False), "passthrough"], "classify__C": [0.01, 0.1, 1.0]}
    search = GridSearchCV(Pipeline(steps), choices, cv=3, scoring="f1_macro")
    reference, query = normalized
    return search.fit(reference.X, reference.obs[pair.labels_key].astype(str)).predict(query.X)


def count_likelihood(pair: ReferenceQueryPair) -> np.ndarray:
    """Label the query by the multinomial likelihood of its counts under the mean profile of each label.

    Parameters
    ----------
    pair
        Reference and query.

    Returns
    -------
    Predicted labels, shape (n_obs of the query,).
    """
    genes = _shared_genes(pair)
    codes, labels = pd.factorize(pair.reference.obs[pair.labels_key].astype(str), sort=True)
    profiles = class_profiles(pair.reference[:, genes].X, codes, len(labels))
    return np.asarray(labels)[np.asarray(pair.query[:, genes].X @ np.log(profiles).T).argmax(axis=1)]


def _shared_genes(pair: ReferenceQueryPair) -> pd.Index:
    return pair.reference.var_names[pair.reference.var_names.isin(pair.query.var_names)]
