"""The references and queries of the demo."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from anndata import AnnData

from hrca import datasets
from hrca.module._transforms import thin_sparse

# The query is made of half of the cells, each thinned to 30 % of its counts: it is sparse, and its labels are known.
# With 30 % of the cells, the 20 B cells share a cluster with others, and are detected with some seeds alone.
REFERENCE_FRACTION, QUERY_DEPTH_FRACTION = 0.5, 0.3

# The type that the reference lacks, to show that its cells are detected. The query has about 40 such blood cells, or
# 650 such cells of the preoptic area. Novelty often misses a type that resembles a known one. Of four types of the
# blood cells, B cells and dendritic cells are detected; monocytes resemble dendritic cells, and NK cells resemble
# cytotoxic T cells.
BLOOD_LEFT_OUT, POA_LEFT_OUT = "CD19+ B", "OD Mature"

# Files of the pair of the preoptic area.
POA_FILES = ("poa_scrna_moffitt", "poa_merfish_b0.06")


@dataclass(frozen=True)
class ReferenceQueryPair:
    """A labelled reference, and a query whose labels are known.

    Attributes
    ----------
    reference
        Reference cells with raw counts in X, shape (n_obs, n_genes).
    query
        Query cells with raw counts in X, shape (n_obs, n_genes of their own).
    labels_key
        Column of both obs with the labels.
    left_out
        A type of the query that the reference lacks.
    """

    reference: AnnData
    query: AnnData
    labels_key: str
    left_out: str

    @property
    def is_known(self) -> np.ndarray:
        """True for each query cell whose type the reference has, shape (n_obs of the query,)."""
        return (self.query.obs[self.labels_key].astype(str) != self.left_out).to_numpy()


def pbmc68k_pair(seed: int = 0) -> ReferenceQueryPair:
    """Split the blood cells of :func:`hrca.datasets.pbmc68k` into a reference and a thinned query.

    Parameters
    ----------
    seed
        Seed of the split and of the thinning.

    Returns
    -------
    About 300 reference cells without B cells, and 350 query cells with 30 % of their counts.

    Examples
    --------
    >>> pair = pbmc68k_pair()
    >>> pair.reference.n_obs, pair.query.n_obs
    (296, 350)
    """
    adata = datasets.pbmc68k()
    rng = np.random.default_rng(seed)
    order = rng.permutation(adata.n_obs)
    n_reference = round(REFERENCE_FRACTION * adata.n_obs)
    reference, query = adata[order[:n_reference]].copy(), adata[order[n_reference:]].copy()
    query.X = thin_sparse(query.X, QUERY_DEPTH_FRACTION, rng)
    query.X.eliminate_zeros()
    return _without(ReferenceQueryPair(reference, query, "bulk_labels", BLOOD_LEFT_OUT))


def poa_pair(folder: str | Path, left_out: str = POA_LEFT_OUT) -> ReferenceQueryPair:
    """Read single cells and a MERFISH section of the mouse preoptic area :cite:p:`moffitt2018molecular`.

    Parameters
    ----------
    folder
        Folder with ``poa_scrna_moffitt.h5ad`` and ``poa_merfish_b0.06.h5ad``, each with ``obs["label_harmonised"]``.
        Cells whose label is an empty string are left out.
    left_out
        The type that is left out of the reference; "": none.

    Returns
    -------
    Single cells of other types as the reference, and the section as the query.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    """
    missing = [name for name in POA_FILES if not (Path(folder) / f"{name}.h5ad").is_file()]
    if missing:
        raise FileNotFoundError(
            f"`data` must be a folder with the files {' and '.join(f'{name}.h5ad' for name in POA_FILES)}, but "
            f"{str(folder)!r} lacks {' and '.join(f'{name}.h5ad' for name in missing)}."
        )
    samples = [datasets.local(name, folder) for name in POA_FILES]
    reference, query = (adata[adata.obs["label_harmonised"] != ""].copy() for adata in samples)
    return _without(ReferenceQueryPair(reference, query, "label_harmonised", left_out))


def _without(pair: ReferenceQueryPair) -> ReferenceQueryPair:
    """Remove a type from the reference."""
    is_kept = pair.reference.obs[pair.labels_key] != pair.left_out
    return replace(pair, reference=pair.reference[is_kept].copy())
