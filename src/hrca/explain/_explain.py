"""The genes behind the labels of cells and groups: contributions, and the genes whose deletion changes the label."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hrca.module._module import HRCAModule

from ._counts import count_contributions
from ._label_scores import FittedQuery, LabelScores, likelihood_of, scorer
from ._network import network_contributions
from ._units import Units

# Maximum number of genes that are deleted to change a label. Not tuned.
MAX_FLIP_GENES = 20

# Names of rows that stand for no gene.
NO_EXPRESSION, WHOLE_NETWORK = "(no expression)", "(network)"
OTHER_GENES, CALIBRATION = "(other genes)", "(calibration)"

COLUMNS = ("cells", "n_cells", "label", "against", "gene", "branch", "count", "contribution", "flips")


@dataclass(frozen=True)
class _Parts:
    """Contributions to the difference between two labels, means over the cells of each unit.

    Attributes
    ----------
    by_gene
        Contributions of the genes by branch, each of shape (n_units, n_genes).
    others
        Contributions of no gene, by branch and name, each of shape (n_units,).
    count
        Counts, shape (n_units, n_genes).
    """

    by_gene: dict[str, np.ndarray]
    others: dict[tuple[str, str], np.ndarray]
    count: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Contributions of the genes, summed over the branches, shape (n_units, n_genes)."""
        return sum(self.by_gene.values(), np.zeros(self.count.shape))


def explain_units(
    module: HRCAModule,
    fitted: FittedQuery,
    units: Units,
    names: tuple[np.ndarray, np.ndarray],
    *,
    n_genes: int | None,
    network_genes: bool,
    batch_size: int,
) -> pd.DataFrame:
    """Explain the difference between two labels in each unit.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    fitted
        The query, and the cells of the units.
    units
        The units.
    names
        Names of the labels, shape (n_labels,), and of the genes, shape (n_genes,).
    n_genes
        Number of genes of a unit in the table, those with the largest absolute contributions; None: all genes with a
        contribution.
    network_genes
        If True, divide the networks' part among the genes.
    batch_size
        Number of cells that are dense at a time, apart from those of a group.

    Returns
    -------
    The table; see :meth:`hrca.HRCA.explain`.
    """
    score, tables = scorer(module, fitted.factors), []
    for cells, block in units.blocks(batch_size):
        batches = fitted.query.take(fitted.rows[cells]).batches(batch_size)
        counts = np.concatenate([batch.toarray() for _, batch in batches]) * fitted.gene_mask.astype(np.float32)
        parts = _contributions(module, fitted, block, counts, score(counts), network_genes=network_genes)
        flips = _flipping_genes(block, counts, parts.total, score)
        tables.append(_table(block, parts, flips, names, n_genes))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _contributions(
    module: HRCAModule,
    fitted: FittedQuery,
    units: Units,
    counts: np.ndarray,
    scores: LabelScores,
    *,
    network_genes: bool,
) -> _Parts:
    codes, against = units.codes[units.unit], units.against[units.unit]
    differences, likelihood = scores.differences(codes, against), likelihood_of(module)
    by_gene, others = {}, {}
    if likelihood is not None:
        contributions = count_contributions(likelihood, counts, fitted.factors, codes, against)
        by_gene["counts"] = units.mean(contributions)
    if network_genes:
        contributions, baseline = network_contributions(module, counts, codes, against, differences.total)
        by_gene["network"] = units.mean(contributions)
        others["network", NO_EXPRESSION] = units.mean(baseline)
    else:
        others["network", WHOLE_NETWORK] = units.mean(differences.network)
    if differences.offsets.any():
        others["calibration", CALIBRATION] = units.mean(differences.offsets)
    return _Parts(by_gene, others, units.mean(counts))


def _flipping_genes(
    units: Units, counts: np.ndarray, contributions: np.ndarray, score: Callable[[np.ndarray], LabelScores]
) -> list[np.ndarray]:
    """Return for each unit the fewest of its top genes without whose counts the other label has the higher score.

    The genes are deleted in the order of their contributions, and the cells are scored anew. A unit that keeps its
    label without MAX_FLIP_GENES genes, or has the lower score from the start, has none.
    """
    order = np.argsort(-contributions, axis=1, kind="stable")[:, :MAX_FLIP_GENES]
    supports = np.take_along_axis(contributions, order, axis=1) > 0
    flips = [np.zeros(0, dtype=np.int64) for _ in units.names]
    pending, deleted = np.arange(len(units.names)), counts.copy()
    for n_deleted in range(order.shape[1] + 1):
        cells = np.flatnonzero(np.isin(units.unit, pending))
        if not len(cells):
            break
        unit = units.unit[cells]
        scores = score(deleted[cells])
        difference = scores.differences(units.codes[unit], units.against[unit]).total
        mean = np.bincount(unit, difference, len(flips)) / np.maximum(np.bincount(unit, minlength=len(flips)), 1)
        for i in pending[mean[pending] < 0]:
            flips[i] = order[i, :n_deleted]
        pending = pending[mean[pending] >= 0]
        if n_deleted < order.shape[1]:
            pending = pending[supports[pending, n_deleted]]
            for i in pending:
                deleted[units.unit == i, order[i, n_deleted]] = 0
    return flips


def _table(
    units: Units, parts: _Parts, flips: list[np.ndarray], names: tuple[np.ndarray, np.ndarray], n_genes: int | None
) -> pd.DataFrame:
    """Return the rows of the units, in order; the genes of each in decreasing absolute contribution."""
    labels, genes = names
    total, rows = parts.total, []
    for i, name in enumerate(units.names):
        order = np.argsort(-np.abs(total[i]), kind="stable")
        order = order[
            sum((values[i, order] != 0 for values in parts.by_gene.values()), np.zeros(len(order), dtype=bool))
        ]
        shown = order if n_genes is None else order[np.isin(order, np.r_[order[:n_genes], flips[i]])]
        hidden = np.setdiff1d(order, shown)
        unit = (name, units.n_cells[i], labels[units.codes[i]], labels[units.against[i]])
        is_flip = np.isin(shown, flips[i])
        for gene, flip in zip(shown, is_flip, strict=True):
            rows += [
                (*unit, genes[gene], branch, parts.count[i, gene], values[i, gene], flip)
                for branch, values in parts.by_gene.items()
            ]
        if len(hidden):
            count = parts.count[i, hidden].sum()
            rows += [
                (*unit, OTHER_GENES, branch, count, values[i, hidden].sum(), False)
                for branch, values in parts.by_gene.items()
            ]
        rows += [(*unit, what, branch, np.nan, values[i], False) for (branch, what), values in parts.others.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))
