"""What the accuracy benchmark runs over: pairs of real data sets, query depths, gene panels, seeds."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc

from hrca import datasets

ALL_GENES = "all"
DEPTHS = (1.0, 0.3, 0.1, 0.03, 0.01)
# Genes of a panel, and counts of its median cell.
PANEL_SIZES = (1000, 300, 100)
PANEL_CHOICES = ("variable", "random")
PANEL_COUNTS = (100, 30)
# What --quick leaves of the grid.
QUICK_DEPTHS = (1.0, 0.03)
QUICK_PANELS = ("300 variable",)
QUICK_COUNTS = (100,)


@dataclass(frozen=True)
class QueryInput:
    """Where a pair comes from.

    Attributes
    ----------
    reference, query
        Names of the files.
    left_out
        The batch that is the query where both are one file; the other batches are the reference.
    labels_key
        Column with the labels of both; an empty label leaves the cell out.
    spatial
        Whether the query is spatial: it is sparse as it is, and is not thinned.
    panel_turn
        When the pair's gene panels run: 1 is earlier than 2, 0 is never.
    quick
        Whether the pair is in the quick form of the benchmark.
    """

    reference: str
    query: str
    left_out: str | None = None
    labels_key: str = "label_harmonised"
    spatial: bool = False
    panel_turn: int = 0
    quick: bool = False

    @property
    def name(self) -> str:
        """``reference -> query``."""
        return f"{self.reference} -> {self.left_out or self.query}"


def _leave_one_out(name: str, batches: tuple[str, ...], **options) -> list[QueryInput]:
    return [QueryInput(name, name, batch, **options) for batch in batches]


SOURCES = (
    QueryInput("poa_scrna_moffitt", "poa_merfish_b0.06", spatial=True, quick=True),
    QueryInput("pbmc_facs_zheng", "pbmc3k", panel_turn=1),
    QueryInput("pbmc3k", "pbmc_symphony_3tech", panel_turn=2),
    QueryInput("pbmc_facs_zheng", "pbmc_symphony_3tech", panel_turn=2),
    *_leave_one_out("pbmc_symphony_3tech", ("3pv1", "3pv2", "5p")),
    QueryInput("pbmc3k", "pbmc_kang_small", panel_turn=1, quick=True),
    *_leave_one_out("starmap_mpfc", ("BZ14", "BZ5", "BZ9"), labels_key="cell_type", spatial=True),
    QueryInput("starmap_v1", "starmap_mpfc", spatial=True),
)


@dataclass(frozen=True)
class Pair:
    """Labelled cells of the shared genes: raw counts in X, labels in ``obs[labels_key]``."""

    reference: ad.AnnData
    query: ad.AnnData
    labels_key: str

    @property
    def seen(self) -> np.ndarray:
        """Whether the reference has the type of each query cell."""
        return self.query.obs[self.labels_key].isin(self.reference.obs[self.labels_key].unique()).to_numpy()


@dataclass(frozen=True)
class Job:
    """One training of a method, and the queries to label with it.

    Attributes
    ----------
    method
        Its name.
    source
        The pair.
    genes
        ``all``, or size and choice of a panel: ``300 random``.
    seed
        Of the thinning, of a random panel, and of the method.
    depths
        Of the queries: a share of the counts (``0.3``), or a median (``100 counts``).
    """

    method: str
    source: QueryInput
    genes: str
    seed: int
    depths: tuple[str, ...]

    def key(self, depth: str) -> tuple[str, ...]:
        """What tells one row of results from the others."""
        return (self.method, self.source.name, self.genes, depth, str(self.seed))


def jobs(methods: list[str], seeds: int, *, pairs: list[str] = (), quick: bool = False) -> Iterator[Job]:
    """Walk the grid, what matters most first: by seed, then depths before panels, then by method.

    Parameters
    ----------
    methods
        Names.
    seeds
        How many.
    pairs
        Only pairs whose name contains one of these; all if empty.
    quick
        Only what takes minutes.
    """
    sources = [source for source in SOURCES if not pairs or any(part in source.name for part in pairs)]
    if quick:
        sources = [source for source in sources if source.quick]
    for seed in range(seeds):
        for turn in (0, 1, 2):
            for method in methods:
                for source in sources:
                    for genes, depths in _turn(source, turn, quick):
                        yield Job(method, source, genes, seed, depths)


def _turn(source: QueryInput, turn: int, quick: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    shares = ["1"] if source.spatial else [f"{depth:g}" for depth in (QUICK_DEPTHS if quick else DEPTHS)]
    counts = [f"{count} counts" for count in (QUICK_COUNTS if quick else PANEL_COUNTS)]
    if turn == 0:
        # all genes are the largest panel too, and one training serves both
        yield ALL_GENES, tuple(shares + counts if source.panel_turn else shares)
    elif turn == source.panel_turn:
        panels = [f"{size} {choice}" for size in PANEL_SIZES for choice in PANEL_CHOICES]
        for genes in QUICK_PANELS if quick else panels:
            yield genes, tuple(counts)


@lru_cache(maxsize=2)
def load(source: QueryInput, data: Path) -> Pair:
    """Read a pair, without the cells that have no label and the genes that only one side has."""
    key = source.labels_key
    if source.left_out:
        adata = _labelled(datasets.local(source.reference, data), key)
        is_query = (adata.obs["batch"] == source.left_out).to_numpy()
        return Pair(adata[~is_query].copy(), adata[is_query].copy(), key)
    reference, query = (_labelled(datasets.local(name, data), key) for name in (source.reference, source.query))
    genes = reference.var_names[reference.var_names.isin(query.var_names)]
    return Pair(reference[:, genes].copy(), query[:, genes].copy(), key)


def _labelled(adata: ad.AnnData, labels_key: str) -> ad.AnnData:
    adata.obs[labels_key] = adata.obs[labels_key].astype(str)
    return adata[adata.obs[labels_key] != ""].copy()


def panel(pair: Pair, genes: str, seed: int) -> Pair | None:
    """Restrict a pair to a gene panel; None if the pair has no more genes than that.

    Reference cells without a count on the panel are left out; query cells stay.
    """
    if genes != ALL_GENES:
        size, choice = genes.split()
        if pair.reference.n_vars <= int(size):
            return None
        chosen = _most_variable(pair, int(size)) if choice == "variable" else _random(pair, int(size), seed)
        pair = Pair(pair.reference[:, chosen].copy(), pair.query[:, chosen].copy(), pair.labels_key)
    filled = totals(pair.reference) > 0
    return Pair(pair.reference[filled].copy(), pair.query, pair.labels_key)


def _most_variable(pair: Pair, size: int) -> np.ndarray:
    normalized = pair.reference.copy()
    sc.pp.normalize_total(normalized, target_sum=1e4)
    sc.pp.log1p(normalized)
    sc.pp.highly_variable_genes(normalized, n_top_genes=size)
    return normalized.var["highly_variable"].to_numpy()


def _random(pair: Pair, size: int, seed: int) -> np.ndarray:
    return np.sort(generator(seed, f"{size} random").choice(pair.reference.n_vars, size, replace=False))


def queries(pair: Pair, depths: tuple[str, ...], seed: int) -> dict[str, ad.AnnData]:
    """Thin the query to each depth.

    A median that the query does not reach leaves the query as it is; of several such, only the smallest is kept, the
    others would be the same cells again.
    """
    median = float(np.median(totals(pair.query)))
    short = sorted(int(depth.split()[0]) for depth in depths if depth.endswith("counts") and wanted(depth) >= median)
    return {
        depth: thin(pair.query, share(depth, median), generator(seed, depth))
        for depth in depths
        if not depth.endswith("counts") or wanted(depth) not in short[1:]
    }


def wanted(depth: str) -> int:
    """Counts of the median cell that ``100 counts`` asks for."""
    return int(depth.split()[0])


def share(depth: str, median: float) -> float:
    """Share of its counts that a query keeps at a depth."""
    return min(1.0, wanted(depth) / median) if depth.endswith("counts") else float(depth)


def thin(adata: ad.AnnData, kept: float, rng: np.random.Generator) -> ad.AnnData:
    """Keep each count with this probability (binomial thinning)."""
    adata = adata.copy()
    if kept < 1:
        adata.X.data = rng.binomial(adata.X.data.astype(int), kept).astype(np.float32)
        adata.X.eliminate_zeros()
    return adata


def totals(adata: ad.AnnData) -> np.ndarray:
    """Counts of each cell."""
    return np.asarray(adata.X.sum(axis=1)).ravel()


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one seed and one purpose: what else is run does not change them."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
