"""Spatial smoothing of predicted labels."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

# Pseudocount of pairs of neighbours, per pair of labels: it shrinks the estimated frequencies towards independence.
PAIR_PSEUDOCOUNT = 10.0

# Number of mean-field updates. On the section of tests/test_tl.py no label changes after the third.
N_UPDATES = 5

# Keeps logarithms and divisions finite.
EPSILON = 1e-12


def smooth(
    adata: AnnData,
    *,
    key: str = "hrca",
    graph: str | sparse.sparray | sparse.spmatrix = "spatial_connectivities",
    strength: float = 0.5,
    rare_fraction: float = 0.02,
    key_added: str | None = None,
) -> pd.Categorical:
    """Smooth predicted labels over spatial neighbours, weighted by the neighbours' confidence.

    The frequency of each pair of labels among neighbours is estimated from the predictions. A cell within a layer
    therefore gets the layer's label, and a cell of a scattered type keeps its own. Cells of rare labels keep theirs.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`. Two columns are added to obs.
    key
        The `key_added` that was given to :meth:`hrca.HRCA.predict`.
    graph
        Spatial neighbours: the name of an entry of obsp, or a sparse matrix, shape (n_obs, n_obs). Entry (i, j) is not
        zero if cell j is a neighbour of cell i. ``squidpy.gr.spatial_neighbors_knn`` writes the default entry.
    strength
        Weight of all neighbours together, relative to the cell itself. 0 changes no label.
    rare_fraction
        Fraction of cells below which a label is rare.
    key_added
        Column of obs for the labels; ``_confidence`` is appended for their probability. If None, ``"hrca_smooth"`` for
        the key "hrca".

    Returns
    -------
    Label of each cell, shape (n_obs,), as written. Cells without a label keep the unlabelled category, and have no
    influence on their neighbours.

    Raises
    ------
    ValueError
        If `adata` has no prediction under this key, `graph` is not an entry of obsp or not of shape (n_obs, n_obs), or
        `strength` is negative.

    See Also
    --------
    mean_field_smoothing : The model and its equations.

    Notes
    -----
    The default `strength` was chosen among 0.5, 1, 2, 4 and 8 on two STARmap sections and one MERFISH query. One
    further section is independent of the choice: :doc:`Benchmarks, Smoothing and voting </benchmarks>`.

    Examples
    --------
    >>> import hrca
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from scipy import sparse
    >>> columns = {"hrca": ["B", "T"], "hrca_confidence": [0.9, 0.6]}
    >>> adata = AnnData(obs=pd.DataFrame(columns, index=["a", "b"]))
    >>> probabilities = {"B": [0.9, 0.4], "T": [0.1, 0.6]}
    >>> adata.obsm["hrca_probabilities"] = pd.DataFrame(probabilities, index=["a", "b"])
    >>> adata.uns["hrca"] = {"labels": ["B", "T"]}
    >>> list(hrca.tl.smooth(adata, graph=sparse.csr_array([[0, 1], [1, 0]])))
    ['B', 'T']
    """
    _check_prediction(adata, key)
    if strength < 0:
        raise ValueError(f"`strength` must be 0 or more, got {strength}.")
    neighbours = _neighbour_weights(adata, graph)
    names = np.asarray(adata.uns[key]["labels"], dtype=object)
    probabilities = np.asarray(adata.obsm[f"{key}_probabilities"], dtype=float)
    labels = np.asarray(adata.obs[key], dtype=object)
    has_label = np.isin(labels, names) & (probabilities.sum(axis=1) > 0)
    smoothed = mean_field_smoothing(probabilities * has_label[:, None], neighbours, strength)
    keeps_label = ~has_label | _is_rare(labels, has_label, rare_fraction)
    new_labels = np.where(keeps_label, labels, names[smoothed.argmax(axis=1)])
    smoothed_confidence = smoothed[np.arange(len(smoothed)), pd.Index(names).get_indexer(new_labels)]
    own_confidence = adata.obs[f"{key}_confidence"].to_numpy()
    confidence = np.where(keeps_label, own_confidence, smoothed_confidence).astype(np.float32)
    categories = adata.obs[key].astype("category").cat.categories.union(pd.Index(names), sort=False)
    result = pd.Categorical(new_labels, categories=categories).remove_unused_categories()
    column = key_added or f"{key}_smooth"
    adata.obs[column] = result
    adata.obs[f"{column}_confidence"] = confidence
    return result


def mean_field_smoothing(probabilities: np.ndarray, neighbours: sparse.csr_array, strength: float) -> np.ndarray:
    r"""Return label probabilities after smoothing over neighbours.

    Parameters
    ----------
    probabilities
        Probability of each label, shape (n_obs, n_labels). The rows of cells without a label are zero.
    neighbours
        Weight of cell j among the neighbours of cell i in entry (i, j), shape (n_obs, n_obs). Rows sum to one, or to
        zero without neighbours.
    strength
        Weight of all neighbours together, relative to the cell itself.

    Returns
    -------
    Smoothed probability of each label, shape (n_obs, n_labels). Each row keeps its sum: 1 minus the probability that
    the cell is of none of the labels. Rows of zeros stay zero.

    Notes
    -----
    Mean-field inference in a Markov random field with label compatibilities :cite:p:`krahenbuhl2011efficient`. With
    :math:`p_i` the probabilities of cell :math:`i`, :math:`w_{ij}` the weights of its neighbours and :math:`\lambda`
    the strength, each update sets

    .. math::

        q_i(l) &\propto p_i(l) \exp(\lambda\, a_i(l)), \\
        a_i(l) &= \sum_j w_{ij} \sum_m A_{lm}\, s_j(m), \\
        s_j(m) &= q_j(m) \max_k q_j(k) .

    Two things differ from the usual model. The factor :math:`\max_k q_j(k)` reduces the influence of uncertain
    neighbours, and of those that are probably of none of the labels. The compatibilities :math:`A` are estimated from
    the current probabilities before each update. Let :math:`N_{lm}` be the sum of
    :math:`s_i(l)\,s_j(m) + s_i(m)\,s_j(l)` over all neighbours :math:`j` of all cells :math:`i`. With the sum :math:`N`
    of these numbers, the label fractions :math:`f`, and :math:`c = 10 L^2` pseudocounts for :math:`L` labels,

    .. math:: A_{lm} = \log \frac{N_{lm} + c f_l f_m}{N f_l f_m + c f_l f_m} .

    Examples
    --------
    The second cell has no preference. It is between two cells of type 0. The last two cells, of type 1, are neighbours
    of each other:

    >>> import hrca
    >>> import numpy as np
    >>> from scipy import sparse
    >>> probabilities = np.array(
    ...     [
    ...         [0.9, 0.1],
    ...         [0.5, 0.5],
    ...         [0.9, 0.1],
    ...         [0.1, 0.9],
    ...         [0.1, 0.9],
    ...     ]
    ... )
    >>> neighbours = sparse.csr_array(
    ...     [
    ...         [0.0, 1.0, 0.0, 0.0, 0.0],
    ...         [0.5, 0.0, 0.5, 0.0, 0.0],
    ...         [0.0, 1.0, 0.0, 0.0, 0.0],
    ...         [0.0, 0.0, 0.0, 0.0, 1.0],
    ...         [0.0, 0.0, 0.0, 1.0, 0.0],
    ...     ]
    ... )
    >>> smoothed = hrca.tl.mean_field_smoothing(probabilities, neighbours, strength=1.0)
    >>> bool(smoothed[1, 0] > 0.5)
    True
    """
    log_probabilities = np.log(probabilities.clip(EPSILON))
    # 1 at most: the rows of 32-bit probabilities sum to a little more or less
    total = probabilities.sum(axis=1, keepdims=True).clip(max=1)
    current = probabilities
    for _ in range(N_UPDATES):
        beliefs = current * current.max(axis=1, keepdims=True)
        logits = log_probabilities + strength * (neighbours @ beliefs) @ _pair_log_odds(beliefs, neighbours).T
        current = np.exp(logits - logits.max(axis=1, keepdims=True))
        current = total * current / current.sum(axis=1, keepdims=True)
    return current


def _pair_log_odds(beliefs: np.ndarray, neighbours: sparse.csr_array) -> np.ndarray:
    """Return the log ratio of observed to independent pairs of labels among neighbours, shape (n_labels, n_labels)."""
    n_neighbours = (neighbours.indptr[1:] - neighbours.indptr[:-1])[:, None]
    pairs = (beliefs * n_neighbours).T @ (neighbours @ beliefs)
    pairs = pairs + pairs.T
    fractions = beliefs.sum(axis=0) / max(beliefs.sum(), EPSILON)
    expected = np.outer(fractions, fractions) + EPSILON
    prior_pairs = PAIR_PSEUDOCOUNT * len(fractions) ** 2 * expected
    return np.log((pairs + prior_pairs) / (pairs.sum() * expected + prior_pairs))


def _is_rare(labels: np.ndarray, has_label: np.ndarray, rare_fraction: float) -> np.ndarray:
    """Return which cells have a label that fewer than this fraction of the labelled cells have, shape (n_obs,)."""
    fractions = pd.Series(labels[has_label]).value_counts() / max(has_label.sum(), 1)
    return np.isin(labels, fractions.index[fractions < rare_fraction])


def _check_prediction(adata: AnnData, key: str) -> None:
    if f"{key}_probabilities" not in adata.obsm or key not in adata.uns:
        raise ValueError(
            f"obsm must have {f'{key}_probabilities'!r}, but has {list(adata.obsm)}. `model.predict(adata)` first."
        )


def _neighbour_weights(adata: AnnData, graph: str | sparse.sparray | sparse.spmatrix) -> sparse.csr_array:
    """Return equal weights of the neighbours of each cell, without the cell itself, shape (n_obs, n_obs).

    Raises
    ------
    ValueError
        If there is no such graph, or it has another shape.
    """
    if isinstance(graph, str):
        if graph not in adata.obsp:
            raise ValueError(
                f"`graph` must name an entry of obsp, got {graph!r}; it has {list(adata.obsp)}. squidpy's "
                "`gr.spatial_neighbors_knn(adata)` writes 'spatial_connectivities'."
            )
        graph = adata.obsp[graph]
    if graph.shape != (adata.n_obs, adata.n_obs):
        raise ValueError(f"`graph` must be {adata.n_obs} x {adata.n_obs}, a row for each cell, got {graph.shape}.")
    links = sparse.csr_array(graph != 0, dtype=float)
    links.setdiag(0)
    links.eliminate_zeros()
    n_neighbours = np.asarray(links.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(n_neighbours, 1)) @ links)
