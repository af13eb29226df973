"""Labels and novelty by cluster."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from hrca._records import is_rejected, prediction_record

# Leiden resolution of the over-clusters for fewer cells than the first number, and for more than the last: CellTypist's
# (celltypist 1.7, Classifier.over_cluster).
RESOLUTIONS = ((5_000, 5), (20_000, 10), (40_000, 15), (100_000, 20), (200_000, 25))
MAX_RESOLUTION = 30

# Keeps the standard error of a gene that is constant in all cells above 0.
VARIANCE_FLOOR = 1e-12


def majority_vote(
    adata: AnnData,
    *,
    key: str = "hrca",
    clusters: str | None = None,
    min_fraction: float = 0.0,
    key_added: str | None = None,
    seed: int = 0,
) -> pd.Categorical:
    """Give all cells of a cluster the most frequent label in the cluster.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`. One column is added to obs, or two with over-clusters.
    key
        The `key_added` that was given to :meth:`hrca.HRCA.predict`.
    clusters
        Column of obs with clusters. If None, Leiden over-clusters :cite:p:`traag2019louvain` of
        ``obsp["connectivities"]`` are computed and written to ``obs["hrca_overclusters"]`` for the key "hrca".
        ``scanpy.pp.neighbors`` computes the connectivities. The over-clusters need the extra ``leiden``.
    min_fraction
        Minimum fraction of a cluster's cells, in [0, 1], that have its most frequent label. The cells of other clusters
        keep their own labels.
    key_added
        Column of obs for the result. If None, ``"hrca_majority"`` for the key "hrca".
    seed
        Seed of the Leiden algorithm.

    Returns
    -------
    Label of each cell, shape (n_obs,), as written. It is missing where the cluster is missing.

    Raises
    ------
    ValueError
        If `adata` has no prediction under this key, `clusters` is not a column of obs, over-clusters lack
        ``obsp["connectivities"]``, or `min_fraction` is not in [0, 1].
    ImportError
        If over-clusters are needed and the extra ``leiden`` is not installed.

    Notes
    -----
    This is the majority vote of CellTypist :cite:p:`dominguezconde2022cross`, with the Leiden resolutions of
    CellTypist.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> columns = {"hrca": ["B", "B", "T"], "leiden": ["0", "0", "0"]}
    >>> adata = AnnData(obs=pd.DataFrame(columns, index=["a", "b", "c"]))
    >>> list(hrca.tl.majority_vote(adata, clusters="leiden"))
    ['B', 'B', 'B']
    """
    if key not in adata.obs:
        raise ValueError(f"obs must have the labels {key!r}, but has {list(adata.obs)}. `model.predict(adata)` first.")
    if not 0 <= min_fraction <= 1:
        raise ValueError(f"`min_fraction` must be from 0 to 1, got {min_fraction}.")
    if clusters is None:
        clusters = f"{key}_overclusters"
        adata.obs[clusters] = _overclusters(adata, seed)
    if clusters not in adata.obs:
        raise ValueError(f"`clusters` must name a column of obs, got {clusters!r}; it has {list(adata.obs)}.")
    labels = adata.obs[key].astype("category").cat.remove_unused_categories()
    fractions = pd.crosstab(adata.obs[clusters], labels, normalize="index")
    voted = adata.obs[clusters].map(fractions.idxmax(axis=1)).astype(object)
    fraction = adata.obs[clusters].map(fractions.max(axis=1)).astype(float)
    voted = voted.where((fraction >= min_fraction) | fraction.isna(), labels.astype(object))
    categories = adata.obs[key].astype("category").cat.categories
    result = pd.Categorical(voted, categories=categories).remove_unused_categories()
    adata.obs[key_added or f"{key}_majority"] = result
    return result


def rejected_clusters(
    adata: AnnData, clusters: str, *, key: str = "hrca", min_novelty: float = 0.95, n_top: int = 5
) -> pd.DataFrame:
    """Describe the rejected cells of each cluster: their fraction, nearest labels and marker genes.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`, with log-normalised expression in X, shape (n_obs, n_vars).
    clusters
        Column of obs with clusters.
    key
        The `key_added` that was given to :meth:`hrca.HRCA.predict`.
    min_novelty
        Novelty, in [0, 1], from which a cell is rejected, as ``predict(novelty_fpr=0.05)`` rejects cells from 0.95. A
        cell whose novel probability is at least 0.5 is also rejected.
    n_top
        Number of nearest labels and of genes in the result.

    Returns
    -------
    One row for each cluster with rejected cells, in decreasing order of their fraction, with these columns:

    - ``n_obs``, the number of cells in the cluster;
    - ``rejected_fraction``, the fraction of them that are rejected;
    - ``nearest``, the labels with the highest mean probability in the rejected cells;
    - ``genes``, the genes with the highest Welch's t statistic of the rejected cells against all other cells.

    Raises
    ------
    ValueError
        If `clusters` is not a column of obs, or `adata` has no novelty under this key.

    Examples
    --------
    >>> import hrca
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> names = ["a", "b", "c"]
    >>> columns = {"leiden": ["0", "0", "1"], "hrca_novelty": [0.99, 0.97, 0.2]}
    >>> adata = AnnData(
    ...     np.array([[3.0, 0.0], [3.0, 1.0], [0.0, 1.0]]),
    ...     obs=pd.DataFrame(columns, index=names),
    ...     var=pd.DataFrame(index=["MS4A1", "CD3E"]),
    ... )
    >>> probabilities = {"NK": [0.8, 0.7, 0.0], "T": [0.2, 0.3, 1.0]}
    >>> adata.obsm["hrca_probabilities"] = pd.DataFrame(probabilities, index=names)
    >>> hrca.tl.rejected_clusters(adata, "leiden", n_top=1)
       n_obs  rejected_fraction nearest    genes
    0      2                1.0    [NK]  [MS4A1]
    """
    for column in (clusters, f"{key}_novelty"):
        if column not in adata.obs:
            raise ValueError(f"obs must have {column!r}, but has {list(adata.obs)}. `model.predict(adata)` first.")
    novelty, novel_probability = (adata.obs.get(f"{key}_{name}") for name in ("novelty", "novel_probability"))
    rejected = is_rejected(novelty, novel_probability, 1 - min_novelty)
    probabilities = adata.obsm[f"{key}_probabilities"]
    if not isinstance(probabilities, pd.DataFrame) or "labels" in prediction_record(adata.uns, key):
        # a table has no slash in its columns, and an object whose cells are numbered has an array (docs/decisions/0002)
        probabilities = pd.DataFrame(np.asarray(probabilities), columns=adata.uns[key]["labels"])
    rows = {}
    for cluster, members in adata.obs.groupby(clusters, observed=True).indices.items():
        rejected_members = np.zeros(adata.n_obs, dtype=bool)
        rejected_members[members] = rejected[members]
        if rejected_members.any():
            nearest = probabilities[rejected_members].mean().nlargest(n_top)
            markers = pd.Series(_welch_t(adata.X, rejected_members), adata.var_names).nlargest(n_top)
            fraction = rejected_members.sum() / len(members)
            rows[cluster] = [len(members), fraction, list(nearest.index), list(markers.index)]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["n_obs", "rejected_fraction", "nearest", "genes"])
    return table.sort_values("rejected_fraction", ascending=False, kind="stable")


def _welch_t(x: np.ndarray | sparse.spmatrix | sparse.sparray, is_selected: np.ndarray) -> np.ndarray:
    """Return Welch's t statistic of the selected rows against the others for each column, shape (n_vars,)."""
    squared = x.multiply(x).tocsr() if isinstance(x, sparse.spmatrix | sparse.sparray) else x * x
    sides = []
    for rows in (is_selected, ~is_selected):
        n_rows = max(rows.sum(), 1)
        weight = rows / n_rows
        mean = np.asarray(weight @ x).ravel()
        variance = (np.asarray(weight @ squared).ravel() - mean**2).clip(0)
        sides.append((mean, variance / n_rows))
    (selected_mean, selected_error), (other_mean, other_error) = sides
    return (selected_mean - other_mean) / np.sqrt(selected_error + other_error + VARIANCE_FLOOR)


def _overclusters(adata: AnnData, seed: int) -> pd.Series:
    """Return Leiden clusters of high resolution, shape (n_obs,).

    Raises
    ------
    ValueError
        If there are no connectivities.
    ImportError
        If igraph is not installed.
    """
    if "connectivities" not in adata.obsp:
        raise ValueError(
            f"obsp must have 'connectivities' to cluster by, but has {list(adata.obsp)}. `scanpy.pp.neighbors(adata, "
            "use_rep=...)` computes them. Alternatively, name a column with clusters, `clusters=`."
        )
    if find_spec("igraph") is None:
        raise ImportError(
            'Over-clusters need igraph: `pip install "hrca[leiden]"`. `clusters=` names a column with clusters instead.'
        )
    resolution = next((value for limit, value in RESOLUTIONS if adata.n_obs < limit), MAX_RESOLUTION)
    cells = AnnData(obs=pd.DataFrame(index=adata.obs_names))
    sc.tl.leiden(
        cells,
        resolution,
        adjacency=adata.obsp["connectivities"],
        random_state=seed,
        flavor="igraph",
        n_iterations=2,
        directed=False,
    )
    return cells.obs["leiden"]
