"""The steps of a prediction that workers of a cluster compute, each on a chunk of cells or on what chunks returned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from hrca._records import is_rejected
from hrca.annotation._labels import assemble_result
from hrca.annotation._options import LabelSpace, PredictOptions
from hrca.annotation._prediction_warnings import PredictionFacts
from hrca.annotation._result import AnnDataEntries, to_entries
from hrca.annotation._write_blocks import read_names, write_columns, write_tables
from hrca.data._alignment import GeneAlignment
from hrca.data._batches import KeptBatches, aligned_batches
from hrca.data._dask_query import rows_of
from hrca.data._name_hash import uniform_from_names
from hrca.module._module import HRCAModule
from hrca.prediction._forward import shared_genes, used_counts
from hrca.prediction._open_set import OpenSetScores, QueryFit
from hrca.prediction._parallel import one_thread
from hrca.prediction._probabilities import CellProbabilities, PredictionSettings, fit_counts, score_batches
from hrca.prediction._summary import PredictionSummary
from hrca.uncertainty._conformal import ConformalScores
from hrca.uncertainty._novelty import CountRanks, QueryRanks, reference_ranks
from hrca.uncertainty._novelty_reference import NoveltyReference


@dataclass(frozen=True)
class FittedQuery:
    """What all cells of a query share.

    Attributes
    ----------
    query_fit
        Platform factors and clusters; None without them.
    rank_counts
        Novelty among the reference's cells; None if cells are ranked among the query's, or not at all.
    """

    query_fit: QueryFit | None
    rank_counts: CountRanks | None

    @property
    def has_clusters(self) -> bool:
        """True if cells are ranked among those of the query."""
        return self.query_fit is not None and self.query_fit.clusters is not None


@dataclass(frozen=True)
class ChunkColumns:
    """Results of the cells of a chunk, to be completed by their novelty.

    Attributes
    ----------
    obs
        Columns of obs, shape (n_obs, n_columns).
    open_set_scores
        What their novelty is computed from; None if obs has it.
    """

    obs: pd.DataFrame
    open_set_scores: OpenSetScores | None

    def subset(self, rows: slice) -> "ChunkColumns":
        """Return the results of some cells."""
        scores = self.open_set_scores
        return ChunkColumns(self.obs.iloc[rows], None if scores is None else scores.subset(rows))


@dataclass(frozen=True)
class ChunkSummary:
    """Numbers of the cells of a chunk, and those of its cells that all cells are ranked among; None: no ranks."""

    numbers: PredictionSummary
    ranked: OpenSetScores | None


@dataclass(frozen=True)
class ScoredChunk:
    """Results of the cells of a chunk.

    Attributes
    ----------
    columns
        Columns of obs.
    tables
        Arrays of obsm by name, each of shape (n_obs, n_labels).
    summary
        Numbers of the cells.
    """

    columns: ChunkColumns
    tables: dict[str, np.ndarray]
    summary: ChunkSummary


@dataclass(frozen=True)
class SummarizedQuery:
    """What is known after all cells have been scored: the ranks of novelty, None without, and what is reported."""

    ranks: QueryRanks | None
    facts: PredictionFacts


@dataclass(frozen=True)
class Block:
    """Cells that are written together.

    Attributes
    ----------
    start
        First cell.
    chunks
        Indices of the chunks that have some of them.
    slices
        Which cells of each of these chunks.
    """

    start: int
    chunks: list[int]
    slices: list[slice]


def divide_into_blocks(bounds: np.ndarray) -> tuple[int, list[Block]]:
    """Divide cells into blocks of equal size, whose chunks in the store no two tasks share.

    Parameters
    ----------
    bounds
        First row of each chunk of the counts and, at the end, the number of rows, shape (n_chunks + 1,).

    Returns
    -------
    The number of cells in a block, that of the largest chunk, and the blocks.

    Examples
    --------
    >>> n_block, blocks = divide_into_blocks(np.array([0, 4, 10, 11]))
    >>> n_block
    6
    >>> blocks[0]
    Block(start=0, chunks=[0, 1], slices=[slice(0, 4, None), slice(0, 2, None)])
    """
    n_block, n_obs = int(np.diff(bounds).max()), int(bounds[-1])
    blocks = []
    for start in range(0, n_obs, n_block):
        stop = min(start + n_block, n_obs)
        first, last = np.searchsorted(bounds, start, side="right") - 1, np.searchsorted(bounds, stop)
        chunks = [i for i in range(int(first), int(last)) if bounds[i + 1] > bounds[i]]
        slices = [slice(max(start - int(bounds[i]), 0), int(min(stop, bounds[i + 1]) - bounds[i])) for i in chunks]
        blocks.append(Block(start, chunks, slices))
    return n_block, blocks


@dataclass(frozen=True)
class Annotator:
    """All that workers need of a model and of the arguments of a prediction.

    Attributes
    ----------
    module
        The module, in evaluation mode, on the CPU.
    label_space
        The labels that the model can return.
    gene_names
        The genes of the model, shape (n_genes,).
    novelty_reference, conformal_scores
        Reference cells of novelty, and scores of held-out cells; None without.
    options, settings, key_added, batch_size
        Arguments of the prediction.
    alignment
        Alignment of the query's genes.
    source
        Expression of the matrix in an error, e.g. "`adata.X`".
    rank_threshold
        See :func:`hrca.uncertainty._novelty.rank_threshold`.
    """

    module: HRCAModule
    label_space: LabelSpace
    gene_names: pd.Index
    novelty_reference: NoveltyReference | None
    conformal_scores: ConformalScores | None
    options: PredictOptions
    settings: PredictionSettings
    key_added: str
    batch_size: int
    alignment: GeneAlignment
    source: str
    rank_threshold: float

    @property
    def _gene_mask(self) -> np.ndarray:
        return shared_genes(self.module, self.alignment.present)

    def itself(self) -> Self:
        """Return itself: the task whose result is the annotator."""
        return self

    def template(self, *, has_clusters: bool) -> AnnDataEntries:
        """Return the entries of no cells."""
        n_labels = len(self.label_space.labels)
        cells = CellProbabilities(np.zeros((0, n_labels), dtype=np.float32), np.zeros(0), np.zeros((1, n_labels)))
        has_novelty = has_clusters or self.novelty_reference is not None
        return self._entries(cells, pd.Index([], dtype=object), np.zeros(0, dtype=np.float32) if has_novelty else None)

    def _entries(self, cells: CellProbabilities, names: pd.Index, novelty: np.ndarray | None) -> AnnDataEntries:
        result = assemble_result(
            self.label_space,
            cells,
            names,
            self.options,
            novelty=novelty,
            conformal_scores=self.conformal_scores,
        )
        labels = result.probabilities.columns.to_numpy(dtype=str)
        return to_entries(self.key_added, result, {"labels": labels})

    @one_thread()
    def fit(self, samples: Sequence[sparse.csr_array], order: np.ndarray) -> FittedQuery:
        """Fit platform factors and clusters, or the novelty among reference cells.

        Parameters
        ----------
        samples
            Counts of the sampled cells in the order of the query, in parts, each of shape (n_part, n_genes).
        order
            Positions in these of the cells in the order of :func:`hrca.prediction._probabilities.sample_cells`.
        """
        counts = sparse.vstack(samples, format="csr")[order]
        gene_mask, reference = self._gene_mask, self.novelty_reference
        sums = None if reference is None else reference.sums
        fitted = FittedQuery(fit_counts(self.module, counts, gene_mask, sums, self.settings), None)
        if reference is None or fitted.has_clusters:
            return fitted
        # in double precision and clipped, as the depths of a prediction in memory: rounding changes the thinned cells
        depths = used_counts(counts, gene_mask).sum(axis=1).astype(np.float64)
        if self.module.count_likelihood is not None and self.module.has_fitted_counts:
            depths = depths.clip(max=float(self.module.count_likelihood.max_depth))
        factors = gene_mask if fitted.query_fit is None else fitted.query_fit.factors
        return FittedQuery(fitted.query_fit, reference_ranks(reference, depths, factors))

    @one_thread()
    def score(self, chunk: Any, fitted: FittedQuery, store: Path, rows: slice) -> ScoredChunk:
        """Score the cells of a chunk.

        Parameters
        ----------
        chunk
            Raw counts of any genes, shape (n_rows, n_vars).
        fitted
            The fit of the query.
        store
            The store with the names of the cells.
        rows
            Rows of the chunk in the query.
        """
        counts = rows_of(chunk)
        batches = KeptBatches(
            lambda _: aligned_batches(counts, self.alignment, batch_size=self.batch_size, source=self.source)
        )
        names, query_fit = read_names(store, rows), fitted.query_fit
        cells = score_batches(
            self.module,
            batches("labels"),
            len(names),
            self._gene_mask,
            query_fit,
            calibrated=self.settings.calibrated,
        )
        entries = self._entries(cells, names, self._reference_novelty(fitted, batches, len(names)))
        is_ranked = uniform_from_names(names) <= self.rank_threshold
        scores = cells.open_set_scores if fitted.has_clusters else None
        return ScoredChunk(
            ChunkColumns(entries.obs.reset_index(drop=True), scores),
            {name: table.to_numpy() for name, table in entries.obsm.items()},
            ChunkSummary(PredictionSummary.of(cells, is_ranked), None if scores is None else scores.subset(is_ranked)),
        )

    def _reference_novelty(self, fitted: FittedQuery, batches: KeptBatches, n_obs: int) -> np.ndarray | None:
        if fitted.has_clusters or self.novelty_reference is None:
            return None
        novelty = np.full(n_obs, np.nan, dtype=np.float32)
        if fitted.rank_counts is not None:
            for rows, counts in batches("novelty"):
                novelty[rows] = fitted.rank_counts(counts)
        return novelty

    def summarize(self, fitted: FittedQuery, summaries: Sequence[ChunkSummary]) -> SummarizedQuery:
        """Fit the ranks of novelty, and find what is to be warned of."""
        numbers = PredictionSummary.total([summary.numbers for summary in summaries])
        ranked = [summary.ranked for summary in summaries if summary.ranked is not None]
        ranks = QueryRanks.fit(OpenSetScores.concat(ranked)) if ranked else None
        count_likelihood = self.module.count_likelihood
        log_profiles = None
        if count_likelihood is not None and count_likelihood.is_fitted:
            log_profiles = count_likelihood.log_profiles.double().numpy()
        facts = PredictionFacts.of(
            numbers,
            fitted.query_fit,
            self.label_space,
            self.gene_names,
            log_profiles,
            rejects_novel=self.options.novelty_fpr is not None,
        )
        return SummarizedQuery(ranks, facts)

    def write_columns(
        self, store: Path, block: Block, chunks: Sequence[ChunkColumns], summarized: SummarizedQuery
    ) -> int:
        """Complete the columns of a block by the novelty, write them, and return the number of rejected cells.

        Parameters
        ----------
        store
            The store.
        block
            The block.
        chunks
            Results of the chunks that it overlaps.
        summarized
            The ranks of novelty.
        """
        parts = zip(chunks, block.slices, strict=True)
        columns = [self._complete(chunk.subset(rows), summarized.ranks) for chunk, rows in parts]
        obs = pd.concat(columns, ignore_index=True)
        write_columns(store, block.start, obs)
        if f"{self.key_added}_novelty" not in obs:
            return 0
        return int(self._is_rejected(obs).sum())

    def _is_rejected(self, obs: pd.DataFrame) -> np.ndarray:
        if self.options.novelty_fpr is None:
            return np.zeros(len(obs), dtype=bool)
        novelty, probability = (obs[f"{self.key_added}_{name}"].to_numpy() for name in ("novelty", "novel_probability"))
        return is_rejected(novelty, probability, self.options.novelty_fpr)

    def _complete(self, columns: ChunkColumns, ranks: QueryRanks | None) -> pd.DataFrame:
        if columns.open_set_scores is None:
            return columns.obs
        n_obs = len(columns.obs)
        novelty = np.full(n_obs, np.nan, dtype=np.float32) if ranks is None else ranks(columns.open_set_scores)
        obs = columns.obs.assign(**{f"{self.key_added}_novelty": novelty})
        obs.loc[self._is_rejected(obs), self.key_added] = self.label_space.unlabeled_category
        return obs


def write_block_tables(store: Path, block: Block, chunks: Sequence[ScoredChunk]) -> None:
    """Write the arrays of obsm of a block.

    Parameters
    ----------
    store
        The store.
    block
        The block.
    chunks
        Results of the chunks that it overlaps.
    """
    parts = zip(chunks, block.slices, strict=True)
    write_tables(store, block.start, [{name: x[rows] for name, x in chunk.tables.items()} for chunk, rows in parts])
