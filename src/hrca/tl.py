"""After prediction: what the cells around a cell say of it. New columns beside those of `predict`, which stay."""

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse

# Leiden resolution of the over-clusters by number of cells, as CellTypist has them (Xu et al., Cell 2023).
RESOLUTIONS = ((5_000, 5), (20_000, 10), (40_000, 15), (100_000, 20), (200_000, 25))

MAX_RESOLUTION = 30

# Pairs of neighbours that are taken in advance to be as the labels' shares would have them, for each pair of labels.
PAIR_PSEUDOCOUNT = 10.0

ROUNDS = 5


def majority_vote(
    adata: AnnData,
    *,
    key: str = "hrca",
    clusters: str | None = None,
    min_share: float = 0.0,
    key_added: str | None = None,
    seed: int = 0,
) -> pd.Categorical:
    """Give all cells of a cluster the label that most of them have, as CellTypist does.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`.
    key
        Its ``key_added``.
    clusters
        Column of obs with clusters. None: Leiden over-clusters of ``obsp["connectivities"]`` (``scanpy.pp.neighbors``
        makes it), written to ``obs["hrca_overclusters"]``; this needs the extra ``leiden``.
    min_share
        Cells of a cluster in which no label has this share keep their own label.
    key_added
        Column of obs for the result; None: ``"hrca_majority"`` for the key "hrca".
    seed
        Of Leiden.

    Returns
    -------
    The label of each cell, shape (n_obs,), as written; missing where the cluster is.

    Raises
    ------
    ValueError
        If `adata` has not been predicted with this key, there is no such column, there are no neighbours to cluster by,
        or `min_share` is not in [0, 1].

    Examples
    --------
    >>> obs = pd.DataFrame({"hrca": ["B", "B", "T"], "leiden": ["0", "0", "0"]}, index=["a", "b", "c"])
    >>> adata = AnnData(obs=obs)
    >>> list(majority_vote(adata, clusters="leiden"))
    ['B', 'B', 'B']
    """
    if key not in adata.obs:
        raise ValueError(f"obs must have the labels {key!r}, but has {list(adata.obs)}. `model.predict(adata)` first.")
    if not 0 <= min_share <= 1:
        raise ValueError(f"`min_share` must be from 0 to 1, got {min_share}.")
    if clusters is None:
        clusters = f"{key}_overclusters"
        adata.obs[clusters] = _overclusters(adata, seed)
    if clusters not in adata.obs:
        raise ValueError(f"`clusters` must name a column of obs, got {clusters!r}; it has {list(adata.obs)}.")
    labels = adata.obs[key].astype("category").cat.remove_unused_categories()
    shares = pd.crosstab(adata.obs[clusters], labels, normalize="index")
    voted = adata.obs[clusters].map(shares.idxmax(axis=1)).astype(object)
    share = adata.obs[clusters].map(shares.max(axis=1)).astype(float)
    voted = voted.where((share >= min_share) | share.isna(), labels.astype(object))
    result = pd.Categorical(voted, categories=adata.obs[key].astype("category").cat.categories)
    adata.obs[key_added or f"{key}_majority"] = result
    return result


def smooth(
    adata: AnnData,
    *,
    key: str = "hrca",
    graph: str | sparse.sparray | sparse.spmatrix = "spatial_connectivities",
    strength: float = 0.5,
    rare_share: float = 0.02,
    key_added: str | None = None,
) -> pd.Categorical:
    """Let spatial neighbours weigh in on the label of a cell, each as far as it is sure of its own.

    Which labels are neighbours of which is learned from the predictions themselves: layers draw their cells in, while a
    type that is scattered among others is not outvoted by them. No cell of a label that fewer than `rare_share` of the
    cells have loses it.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`.
    key
        Its ``key_added``.
    graph
        Neighbours: the name of an ``obsp`` entry (squidpy's ``spatial_neighbors`` writes the default), or a sparse
        matrix, shape (n_obs, n_obs), not zero where a cell of the column is a neighbour of the row's.
    strength
        How much all neighbours together weigh, beside the cell itself; 0: nothing.
    rare_share
        Share of the cells below which a label is rare.
    key_added
        Column of obs for the labels, and beginning of ``..._confidence``; None: ``"hrca_smooth"`` for the key "hrca".

    Returns
    -------
    The label of each cell, shape (n_obs,), as written. Cells that `predict` called the unlabelled category keep it and
    have no say.

    Raises
    ------
    ValueError
        If `adata` has not been predicted with this key, there is no such graph or it is not one of these cells, or
        `strength` is negative.

    Notes
    -----
    Mean-field inference in a Markov random field whose pairwise potentials are the log ratio of how often two labels
    are neighbours to how often they would be by their shares.

    Examples
    --------
    >>> adata = AnnData(obs=pd.DataFrame({"hrca": ["B", "T"], "hrca_confidence": [0.9, 0.6]}, index=["a", "b"]))
    >>> adata.obsm["hrca_probabilities"] = pd.DataFrame({"B": [0.9, 0.4], "T": [0.1, 0.6]}, index=["a", "b"])
    >>> adata.uns["hrca"] = {"labels": ["B", "T"]}
    >>> list(smooth(adata, graph=sparse.csr_array([[0, 1], [1, 0]])))
    ['B', 'T']
    """
    neighbours = _neighbours(adata, key, graph, strength)
    names = np.asarray(adata.uns[key]["labels"], dtype=object)
    probabilities = adata.obsm[f"{key}_probabilities"].to_numpy(dtype=float)
    labels = np.asarray(adata.obs[key], dtype=object)
    judged = np.isin(labels, names) & (probabilities.sum(axis=1) > 0)
    probabilities = probabilities * judged[:, None]
    smoothed = mean_field_smoothing(probabilities, neighbours, strength)
    chosen = names[smoothed.argmax(axis=1)]
    shares = pd.Series(labels[judged]).value_counts() / max(judged.sum(), 1)
    rare = np.isin(labels, shares.index[shares < rare_share])
    kept = rare | ~judged
    chosen = np.where(kept, labels, chosen)
    column = pd.Index(names).get_indexer(chosen)
    own = adata.obs[f"{key}_confidence"].to_numpy()
    confidence = np.where(kept, own, smoothed[np.arange(len(smoothed)), column]).astype(np.float32)
    categories = adata.obs[key].astype("category").cat.categories.union(pd.Index(names), sort=False)
    result = pd.Categorical(chosen, categories=categories)
    adata.obs[key_added or f"{key}_smooth"] = result
    adata.obs[f"{key_added or f'{key}_smooth'}_confidence"] = confidence
    return result


def novel_clusters(
    adata: AnnData, clusters: str, *, key: str = "hrca", min_novelty: float = 0.95, n_top: int = 5
) -> pd.DataFrame:
    """Describe the cells of high novelty, cluster by cluster: how many, what they are nearest to, what they express.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`; log-normalised expression in X, for the genes.
    clusters
        Column of obs with clusters.
    key
        As in :func:`majority_vote`.
    min_novelty
        Novelty from which a cell counts: 0.95 is what ``novelty_fpr=0.05`` rejects.
    n_top
        Number of nearest labels and of genes.

    Returns
    -------
    A row for each cluster with novel cells, the most novel share first: ``n_obs``; ``novel``, the share of its cells
    that are; ``nearest``, the labels of the highest mean probability over these; ``genes``, those whose mean expression
    in these is furthest above that of all other cells, in standard deviations of the difference (Welch's t).

    Raises
    ------
    ValueError
        If there is no such column, or no novelty.

    Examples
    --------
    >>> import numpy as np
    >>> obs = pd.DataFrame({"leiden": ["0", "0", "1"], "hrca_novelty": [0.99, 0.97, 0.2]}, index=list("abc"))
    >>> adata = AnnData(np.array([[3.0, 0], [3, 1], [0, 1]]), obs=obs, var=pd.DataFrame(index=["MS4A1", "CD3E"]))
    >>> adata.obsm["hrca_probabilities"] = pd.DataFrame({"NK": [0.8, 0.7, 0], "T": [0.2, 0.3, 1]}, index=list("abc"))
    >>> novel_clusters(adata, "leiden", n_top=1).to_dict("index")
    {'0': {'n_obs': 2, 'novel': 1.0, 'nearest': ['NK'], 'genes': ['MS4A1']}}
    """
    for column in (clusters, f"{key}_novelty"):
        if column not in adata.obs:
            raise ValueError(f"obs must have {column!r}, but has {list(adata.obs)}. `model.predict(adata)` first.")
    strange = (adata.obs[f"{key}_novelty"] >= min_novelty).to_numpy()
    rows = {}
    for cluster, members in adata.obs.groupby(clusters, observed=True).indices.items():
        novel = np.zeros(adata.n_obs, dtype=bool)
        novel[members] = strange[members]
        if novel.any():
            nearest = adata.obsm[f"{key}_probabilities"][novel].mean().nlargest(n_top)
            above = pd.Series(_welch(adata.X, novel), adata.var_names).nlargest(n_top)
            rows[cluster] = [len(members), novel.sum() / len(members), list(nearest.index), list(above.index)]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["n_obs", "novel", "nearest", "genes"])
    return table.sort_values("novel", ascending=False, kind="stable")


def _welch(x, chosen: np.ndarray) -> np.ndarray:
    """Return how far the mean of each column is above that of the other rows, in standard errors, shape (n_genes,)."""
    sides = []
    for rows in (chosen, ~chosen):
        n = max(rows.sum(), 1)
        weight = rows / n
        mean = np.asarray(weight @ x).ravel()
        square = np.asarray(weight @ (x.multiply(x).tocsr() if sparse.issparse(x) else x * x)).ravel()
        sides.append((mean, (square - mean**2).clip(0) / n))
    (inside, own), (outside, others) = sides
    return (inside - outside) / np.sqrt(own + others + 1e-12)


def mean_field_smoothing(probabilities: np.ndarray, neighbours: sparse.csr_array, strength: float) -> np.ndarray:
    """Return probabilities after the neighbours had their say; see :func:`smooth`.

    Parameters
    ----------
    probabilities
        Shape (n_obs, n_labels); zeros for a cell without a say.
    neighbours
        Weight of each neighbour, rows that sum to one or zero, shape (n_obs, n_obs).
    strength
        As in :func:`smooth`.

    Returns
    -------
    Shape (n_obs, n_labels); zeros where `probabilities` are.
    """
    own = np.log(probabilities.clip(1e-12))
    said = (probabilities.sum(axis=1) > 0)[:, None]
    current = probabilities
    for _ in range(ROUNDS):
        sure = current * current.max(axis=1, keepdims=True)
        around = neighbours @ sure
        logits = own + strength * around @ _pair_log_odds(sure, neighbours).T
        current = np.exp(logits - logits.max(axis=1, keepdims=True)) * said
        current = current / current.sum(axis=1, keepdims=True).clip(1e-12)
    return current


def _pair_log_odds(sure: np.ndarray, neighbours: sparse.csr_array) -> np.ndarray:
    """Return the log of how often labels are neighbours, to how often by their shares, shape (n_labels, n_labels)."""
    degree = (neighbours.indptr[1:] - neighbours.indptr[:-1])[:, None]
    pairs = (sure * degree).T @ (neighbours @ sure)
    pairs = pairs + pairs.T
    shares = sure.sum(axis=0) / max(sure.sum(), 1e-12)
    expected = np.outer(shares, shares) + 1e-12
    n_pairs, n_labels = pairs.sum(), len(shares)
    in_advance = PAIR_PSEUDOCOUNT * n_labels**2 * expected
    return np.log((pairs + in_advance) / (n_pairs * expected + in_advance))


def _neighbours(adata: AnnData, key: str, graph, strength: float) -> sparse.csr_array:
    if f"{key}_probabilities" not in adata.obsm or key not in adata.uns:
        raise ValueError(
            f"obsm must have {f'{key}_probabilities'!r}, but has {list(adata.obsm)}. `model.predict(adata)` first."
        )
    if strength < 0:
        raise ValueError(f"`strength` must be 0 or more, got {strength}.")
    if isinstance(graph, str):
        if graph not in adata.obsp:
            raise ValueError(
                f"`graph` must name an entry of obsp, got {graph!r}; it has {list(adata.obsp)}. squidpy's "
                "`gr.spatial_neighbors(adata)` writes 'spatial_connectivities'."
            )
        graph = adata.obsp[graph]
    if graph.shape != (adata.n_obs, adata.n_obs):
        raise ValueError(f"`graph` must be {adata.n_obs} x {adata.n_obs}, a row for each cell, got {graph.shape}.")
    links = sparse.csr_array(graph != 0, dtype=float)
    links.setdiag(0)
    links.eliminate_zeros()
    degree = np.asarray(links.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(degree, 1)) @ links)


def _overclusters(adata: AnnData, seed: int) -> pd.Series:
    if "connectivities" not in adata.obsp:
        raise ValueError(
            f"obsp must have 'connectivities' to cluster by, but has {list(adata.obsp)}. `scanpy.pp.neighbors(adata, "
            "use_rep=...)` makes it; or name a column with clusters, `clusters=`."
        )
    resolution = next((r for most, r in RESOLUTIONS if adata.n_obs < most), MAX_RESOLUTION)
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
