"""Pairs of real data sets: reading them, restricting them to gene panels, and thinning queries."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from .expression import variable_genes

ALL_GENES = "all"


@dataclass(frozen=True)
class PairSpec:
    """The files and columns of a pair of data sets.

    Attributes
    ----------
    reference, query
        Names of the files, without ``.h5ad``.
    left_out
        Batch that is the query, for a pair from a single file. The other batches are the reference.
    labels_key
        Column of obs with the labels of both sides. A cell with an empty label is left out.
    is_spatial
        True for a spatial query, which is sparse already and is not thinned.
    panel_round
        Round of the grid in which the gene panels run, 1 or 2; 0 for a pair without gene panels.
    is_quick
        True for a pair of ``--quick``.
    """

    reference: str
    query: str
    left_out: str | None = None
    labels_key: str = "label_harmonised"
    is_spatial: bool = False
    panel_round: int = 0
    is_quick: bool = False

    @property
    def name(self) -> str:
        """The name in the results, ``reference -> query``."""
        return f"{self.reference} -> {self.left_out or self.query}"


def _leave_one_batch_out(name: str, batches: tuple[str, ...], **options: Any) -> list[PairSpec]:
    return [PairSpec(name, name, batch, **options) for batch in batches]


PAIRS = (
    PairSpec("poa_scrna_moffitt", "poa_merfish_b0.06", is_spatial=True, is_quick=True),
    PairSpec("pbmc_facs_zheng", "pbmc3k", panel_round=1),
    PairSpec("pbmc3k", "pbmc_symphony_3tech", panel_round=2),
    PairSpec("pbmc_facs_zheng", "pbmc_symphony_3tech", panel_round=2),
    *_leave_one_batch_out("pbmc_symphony_3tech", ("3pv1", "3pv2", "5p")),
    PairSpec("pbmc3k", "pbmc_kang_small", panel_round=1, is_quick=True),
    *_leave_one_batch_out("starmap_mpfc", ("BZ14", "BZ5", "BZ9"), labels_key="cell_type", is_spatial=True),
    PairSpec("starmap_v1", "starmap_mpfc", is_spatial=True),
)


def select_pairs(parts: Iterable[str]) -> list[PairSpec]:
    """Return the pairs whose name contains one of `parts`; all pairs if there are none."""
    parts = list(parts)
    return [spec for spec in PAIRS if not parts or any(part in spec.name for part in parts)]


@dataclass(frozen=True)
class ReferenceQueryPair:
    """Labelled cells of the shared genes: raw counts in X (CSR), labels as strings in ``obs[labels_key]``."""

    reference: ad.AnnData
    query: ad.AnnData
    labels_key: str

    @property
    def is_known_label(self) -> np.ndarray:
        """True for a query cell whose label the reference has, shape (n_obs,)."""
        return self.query.obs[self.labels_key].isin(self.reference.obs[self.labels_key].unique()).to_numpy()


@lru_cache(maxsize=2)
def read_pair(spec: PairSpec, folder: Path) -> ReferenceQueryPair:
    """Read a pair, without unlabelled cells and without genes that only one side has.

    Parameters
    ----------
    spec
        The pair.
    folder
        Folder of the h5ad files.
    """
    key = spec.labels_key
    if spec.left_out:
        adata = read_labelled(spec.reference, folder, key)
        is_query = (adata.obs["batch"] == spec.left_out).to_numpy()
        return ReferenceQueryPair(adata[~is_query].copy(), adata[is_query].copy(), key)
    reference, query = (read_labelled(name, folder, key) for name in (spec.reference, spec.query))
    genes = reference.var_names[reference.var_names.isin(query.var_names)]
    return ReferenceQueryPair(reference[:, genes].copy(), query[:, genes].copy(), key)


def read_labelled(name: str, folder: Path, labels_key: str) -> ad.AnnData:
    """Read a data set without the cells whose label is empty; ``obs[labels_key]`` becomes strings."""
    # imported here: baselines import this file, and hrca would count as their memory
    from hrca import datasets

    adata = datasets.local(name, folder)
    adata.obs[labels_key] = adata.obs[labels_key].astype(str)
    return adata[adata.obs[labels_key] != ""].copy()


def restrict_to_panel(pair: ReferenceQueryPair, gene_set: str, seed: int) -> ReferenceQueryPair | None:
    """Restrict a pair to a gene panel; reference cells without counts on the panel are left out, query cells stay.

    Parameters
    ----------
    pair
        The pair on all its genes.
    gene_set
        ``all``, or size and choice of a panel: ``300 variable`` or ``300 random``.
    seed
        Seed of a random panel.

    Returns
    -------
    The restricted pair; None if the pair has no more genes than the panel.
    """
    if gene_set != ALL_GENES:
        size, choice = gene_set.split()
        if pair.reference.n_vars <= int(size):
            return None
        genes = variable_genes(pair.reference, int(size)) if choice == "variable" else _random(pair, int(size), seed)
        pair = ReferenceQueryPair(pair.reference[:, genes].copy(), pair.query[:, genes].copy(), pair.labels_key)
    return ReferenceQueryPair(drop_empty_cells(pair.reference), pair.query, pair.labels_key)


def _random(pair: ReferenceQueryPair, size: int, seed: int) -> np.ndarray:
    return np.sort(seeded_generator(seed, f"{size} random").choice(pair.reference.n_vars, size, replace=False))


def thin_queries(pair: ReferenceQueryPair, depths: Iterable[str], seed: int) -> dict[str, ad.AnnData]:
    """Thin the query to each depth.

    A median that the query does not reach leaves the query unchanged. Of several such medians only the smallest is
    kept, because the others give the same cells.

    Parameters
    ----------
    pair
        The pair.
    depths
        Fractions of the counts (``0.3``), or medians of the counts of a cell (``100 counts``).
    seed
        Seed of the thinning.
    """
    depths = list(depths)
    median = float(np.median(total_counts(pair.query)))
    targets = sorted(_target_median(depth) for depth in depths if _is_median(depth))
    unreached = [target for target in targets if target >= median]
    return {
        depth: thin(pair.query, _kept_fraction(depth, median), seeded_generator(seed, depth))
        for depth in depths
        if not _is_median(depth) or _target_median(depth) not in unreached[1:]
    }


def _is_median(depth: str) -> bool:
    return depth.endswith("counts")


def _target_median(depth: str) -> int:
    return int(depth.split()[0])


def _kept_fraction(depth: str, median: float) -> float:
    return min(1.0, _target_median(depth) / median) if _is_median(depth) else float(depth)


def thin(adata: ad.AnnData, kept_fraction: float, rng: np.random.Generator) -> ad.AnnData:
    """Return a copy in which each count is kept with probability `kept_fraction`; X is CSR."""
    adata = adata.copy()
    if kept_fraction < 1:
        adata.X = thin_counts(adata.X, kept_fraction, rng)
        adata.X.eliminate_zeros()
    return adata


def thin_counts(
    counts: sparse.csr_matrix, kept_fraction: float | np.ndarray, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Keep each count with the same probability in a cell (binomial thinning).

    It equals :func:`hrca.module._transforms.thin_sparse`. An import of hrca loads torch, which would raise the memory
    reported for the baselines that thin their cells.

    Parameters
    ----------
    counts
        Raw counts, shape (n_obs, n_genes).
    kept_fraction
        Probability that a count is kept, one for all cells or shape (n_obs,).
    rng
        Source of the randomness.

    Returns
    -------
    Thinned counts, shape (n_obs, n_genes), float32; counts that became zero stay as stored zeros.
    """
    by_cell = np.broadcast_to(kept_fraction, counts.shape[0])
    thinned = counts.copy()
    thinned.data = rng.binomial(counts.data.astype(int), np.repeat(by_cell, np.diff(counts.indptr))).astype(np.float32)
    return thinned


def total_counts(adata: ad.AnnData) -> np.ndarray:
    """Sum the counts of each cell, shape (n_obs,)."""
    return np.asarray(adata.X.sum(axis=1)).ravel()


def drop_empty_cells(adata: ad.AnnData) -> ad.AnnData:
    """Return a copy without the cells that have no counts."""
    return adata[total_counts(adata) > 0].copy()


def seeded_generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator of one seed and one purpose, which no other draw affects."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
