"""References and queries of the uncertainty benchmarks: halves of a data set, and pairs of data sets."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np

from benchmarks.common.data import (
    PairSpec,
    ReferenceQueryPair,
    drop_empty_cells,
    read_pair,
    seeded_generator,
    select_pairs,
    thin,
)
from benchmarks.common.expression import variable_genes
from hrca import datasets

DATA_SETS = ("starmap_mpfc", "pbmc3k", "pbmc_facs_zheng")
LABELS_KEY = "cell_type"
# Fractions of the query's counts, within a data set and across data sets.
DEPTHS_WITHIN = (1.0, 0.3, 0.1, 0.03)
DEPTHS_ACROSS = (1.0, 0.1)


@dataclass(frozen=True)
class Case:
    """A reference and a query, both with labels.

    Attributes
    ----------
    name
        Name of the data set, or of the pair.
    seed
        Seed of the split, of the thinning and of the methods.
    pair
        The cells.
    depths
        Fractions of the query's counts.
    """

    name: str
    seed: int
    pair: ReferenceQueryPair
    depths: tuple[float, ...]

    def queries(self) -> dict[float, ad.AnnData]:
        """Thin the query to each depth, and drop the cells without counts."""
        return {depth: thin_by_name(self.pair.query, depth, self.seed, self.name) for depth in self.depths}


class UnreadCase(NamedTuple):
    """The name and the seed of a case, and the function that reads it."""

    name: str
    seed: int
    read: Callable[[], Case]


def thin_by_name(query: ad.AnnData, depth: float, seed: int, name: str) -> ad.AnnData:
    """Thin a query to a fraction of its counts, with a generator of its name, and drop the cells without counts."""
    return drop_empty_cells(thin(query, depth, seeded_generator(seed, f"{depth:g} of {name}")))


def split_in_halves(name: str, folder: Path, seed: int, n_genes: int | None) -> tuple[ad.AnnData, ad.AnnData]:
    """Split a data set at random into reference and query.

    Parameters
    ----------
    name
        Name of the data set.
    folder
        Folder of the h5ad files.
    seed
        Seed of the split.
    n_genes
        Number of genes to keep, the most variable of the reference; None keeps all.

    Returns
    -------
    Reference, without cells that have no counts, and query.
    """
    adata = datasets.local(name, folder)
    adata.obs[LABELS_KEY] = adata.obs[LABELS_KEY].astype(str)
    order = seeded_generator(seed, f"halves of {name}").permutation(adata.n_obs)
    reference, query = (adata[np.sort(half)].copy() for half in np.array_split(order, 2))
    if n_genes is not None:
        genes = variable_genes(reference, n_genes)
        reference, query = reference[:, genes].copy(), query[:, genes].copy()
    return drop_empty_cells(reference), query


def cases_within(names: Iterable[str], n_seeds: int, n_genes: int | None, folder: Path) -> Iterator[UnreadCase]:
    """Yield halves of data sets; a case is read only when it is needed."""
    names = list(names)

    def read(name: str, seed: int) -> Case:
        pair = ReferenceQueryPair(*split_in_halves(name, folder, seed, n_genes), LABELS_KEY)
        return Case(name, seed, pair, DEPTHS_WITHIN)

    for seed in range(n_seeds):
        for name in names:
            yield UnreadCase(name, seed, partial(read, name, seed))


def cases_across(name_parts: Iterable[str], n_seeds: int, folder: Path) -> Iterator[UnreadCase]:
    """Yield the pairs of the accuracy benchmark on all genes, with the query cells whose label the reference has."""
    specs = select_pairs(name_parts)

    def read(spec: PairSpec, seed: int) -> Case:
        pair = read_pair(spec, folder)
        pair = ReferenceQueryPair(drop_empty_cells(pair.reference), pair.query, pair.labels_key)
        known = ReferenceQueryPair(pair.reference, pair.query[pair.is_known_label].copy(), pair.labels_key)
        return Case(spec.name, seed, known, DEPTHS_ACROSS[: 1 if spec.is_spatial else None])

    for seed in range(n_seeds):
        for spec in specs:
            yield UnreadCase(spec.name, seed, partial(read, spec, seed))
