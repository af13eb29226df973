"""The grid of the accuracy benchmark: methods, pairs, query depths, gene panels and seeds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.common.data import ALL_GENES, PairSpec, select_pairs

# Fractions of the counts that a query keeps.
DEPTHS = (1.0, 0.3, 0.1, 0.03, 0.01)
# Genes of a panel, how they are chosen, and counts of the median cell on them.
PANEL_SIZES = (1000, 300, 100)
PANEL_CHOICES = ("variable", "random")
PANEL_COUNTS = (100, 30)
# The part of the grid that --quick runs.
QUICK_DEPTHS = (1.0, 0.03)
QUICK_PANELS = ("300 variable",)
QUICK_COUNTS = (100,)

# Columns of the results.
KEY = ("method", "pair", "genes", "depth", "seed")
SCORES = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "median_f1", "ece")
PROVENANCE = ("date", "commit", "machine", "cores")
COLUMNS = (
    *KEY,
    *("n_genes", "median_counts", "n_cells", "n_unseen"),
    *SCORES,
    *("seen_confidence", "unseen_confidence", "train_s", "predict_s", "peak_gb", "error"),
    *("version", "python"),
    *PROVENANCE,
)


@dataclass(frozen=True)
class Job:
    """One training of a method, and the queries to label with it.

    Attributes
    ----------
    method
        Name of the method.
    pair
        The pair of data sets.
    gene_set
        ``all``, or size and choice of a panel: ``300 random``.
    seed
        Seed of the thinning, of a random panel, and of the method.
    depths
        Depths of the queries: fractions of the counts (``0.3``), or medians of a cell's counts (``100 counts``).
    """

    method: str
    pair: PairSpec
    gene_set: str
    seed: int
    depths: tuple[str, ...]

    def key(self, depth: str) -> tuple[str, ...]:
        """Return the values of :data:`KEY` at a depth."""
        return (self.method, self.pair.name, self.gene_set, depth, str(self.seed))


def jobs(
    methods: Iterable[str], n_seeds: int, *, name_parts: Iterable[str] = (), is_quick: bool = False
) -> Iterator[Job]:
    """Yield the jobs by importance: by seed, then depths before panels, then by method.

    Parameters
    ----------
    methods
        Names of the methods.
    n_seeds
        Number of seeds.
    name_parts
        Only pairs whose name contains one of these; all if empty.
    is_quick
        True for the part of the grid that takes minutes.
    """
    methods = list(methods)
    pairs = [pair for pair in select_pairs(name_parts) if pair.is_quick or not is_quick]
    for seed in range(n_seeds):
        for panel_round in (0, 1, 2):
            for method in methods:
                for pair in pairs:
                    for gene_set, depths in _gene_sets(pair, panel_round, is_quick):
                        yield Job(method, pair, gene_set, seed, depths)


def _gene_sets(pair: PairSpec, panel_round: int, is_quick: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    fractions = ["1"] if pair.is_spatial else [f"{depth:g}" for depth in (QUICK_DEPTHS if is_quick else DEPTHS)]
    counts = [f"{count} counts" for count in (QUICK_COUNTS if is_quick else PANEL_COUNTS)]
    if panel_round == 0:
        # all genes are also the largest panel, and one training serves both
        yield ALL_GENES, tuple(fractions + counts if pair.panel_round else fractions)
    elif panel_round == pair.panel_round:
        panels = [f"{size} {choice}" for size in PANEL_SIZES for choice in PANEL_CHOICES]
        for gene_set in QUICK_PANELS if is_quick else panels:
            yield gene_set, tuple(counts)
