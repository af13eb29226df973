"""The commonest confusions of labels, and why they happen: the genes that should tell the pair apart."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from hrca.pl._cells import counts_of

from ._cells import AnnotatedCells, KnownCells
from ._model_facts import LabelProfiles, largest, log_ratio_contributions

# Pairs of labels in the table, genes of a pair, and cells of each kind whose counts are read.
N_PAIRS, N_GENES, MAX_CELLS = 10, 3, 300

# Cells of fewer are not compared: their means are chance.
MIN_CELLS = 5

# Counts per cell that means are scaled to: most spatial cells have about as many.
SCALE = 100


@dataclass(frozen=True)
class Confusion:
    """A pair of labels that are confused.

    Attributes
    ----------
    label, other_label
        The known and the predicted label. Without known labels, the predicted one and another possible one.
    n_cells
        Number of cells. Without known labels, the expected one.
    rows
        Positions of the correct cells of the first label, of the confused cells, and of the correct cells of the
        second; without known labels, of the cells with the first label, of those of them with the highest probability
        of the second, and of the cells with the second.
    """

    label: str
    other_label: str
    n_cells: float
    rows: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False)


def confusions(cells: AnnotatedCells) -> list[Confusion]:
    """Return the commonest confusions, the most frequent first.

    Parameters
    ----------
    cells
        The cells. Known labels are compared with the predicted ones. Without known labels, the number of confusions of
        two labels is the sum of the second's probability over the cells with the first.
    """
    return _possible_confusions(cells) if cells.known_cells is None else _known_confusions(cells.known_cells)


def _known_confusions(known_cells: KnownCells) -> list[Confusion]:
    true_labels, predicted = known_cells.true_labels, known_cells.predicted
    pairs = pd.DataFrame({"true": true_labels, "predicted": predicted})
    found = pairs[pairs["true"] != pairs["predicted"]].value_counts().head(N_PAIRS)

    def members(true: str, other: str) -> np.ndarray:
        return known_cells.rows[(true_labels == true) & (predicted == other)]

    return [
        Confusion(true, other, float(n), (members(true, true), members(true, other), members(other, other)))
        for (true, other), n in found.items()
    ]


def _possible_confusions(cells: AnnotatedCells) -> list[Confusion]:
    name = f"{cells.key}_probabilities"
    if name not in cells.adata.obsm or "labels" not in cells.record:
        return []
    names = [str(label) for label in cells.record["labels"]]
    probabilities = np.nan_to_num(np.asarray(cells.adata.obsm[name], dtype=np.float32))
    codes = pd.Index(names).get_indexer(cells.labels)
    sums = np.array([probabilities[codes == code].sum(axis=0) for code in range(len(names))])
    np.fill_diagonal(sums, 0)
    found = []
    for place in np.argsort(-sums, axis=None, kind="stable")[:N_PAIRS]:
        i, j = np.unravel_index(place, sums.shape)
        if sums[i, j] >= 1:
            first = np.flatnonzero(codes == i)
            first = first[np.argsort(-probabilities[first, j], kind="stable")]
            n = max(round(float(sums[i, j])), MIN_CELLS)
            rows = (first[n:], first[:n], np.flatnonzero(codes == j))
            found.append(Confusion(names[i], names[j], float(sums[i, j]), rows))
    return found


def confusion_table(cells: AnnotatedCells, profiles: LabelProfiles | None) -> list[dict[str, Any]]:
    """Return a row for each confusion.

    Parameters
    ----------
    cells
        The cells.
    profiles
        Profiles of the model, which choose the genes; None: the cells themselves choose them.

    Returns
    -------
    For each pair ``label``, ``other_label``, ``n_cells``; the median counts of the three kinds of cells in ``depths``;
    the genes in ``genes``, each with its mean counts per 100 in the three kinds, None for a kind of too few cells and
    for a gene of another name in the query, or None in place of all for a gene that the query lacks; and with
    profiles, in ``fraction``, how much of what tells the pair apart the query's genes have.
    """
    counts, names = counts_of(cells.adata, cells.key)
    positions = pd.Series(np.arange(len(names)), index=names.str.upper())
    positions = positions[~positions.index.duplicated()]
    table = []
    for pair in confusions(cells):
        label, other_label = pair.label, pair.other_label
        means, depths = _means(counts, pair.rows)
        row: dict[str, Any] = {"label": label, "other_label": other_label}
        row |= {"n_cells": f"{pair.n_cells:,.0f}", "depths": depths}
        if profiles is not None and {label, other_label} <= set(profiles.labels):
            row["fraction"] = profiles.present_fraction(label, other_label)
            chosen = profiles.distinguishing_genes(label, other_label, N_GENES)
            genes = [(str(profiles.genes[gene]), bool(profiles.present[gene])) for gene in chosen]
        else:
            genes = [(gene, True) for gene in _distinguishing_genes(means, names)]
        row["genes"] = [
            (gene, _means_of_gene(means, positions.get(gene.upper())) if is_present else None)
            for gene, is_present in genes
        ]
        table.append(row)
    return table


def _means_of_gene(means: list[np.ndarray | None], place: int | None) -> list[str | None]:
    """Return the mean counts of a gene in each kind of cells as text; None where they are not known."""
    return [None if mean is None or place is None else f"{mean[place]:.1f}" for mean in means]


def _means(counts: Any, rows: tuple[np.ndarray, ...]) -> tuple[list[np.ndarray | None], list[str]]:
    """Return the mean counts by gene, scaled, and the median counts of each kind of cells; None and "" for too few."""
    means: list[np.ndarray | None] = []
    depths = []
    for members in rows:
        if len(members) < MIN_CELLS:
            means.append(None)
            depths.append("")
            continue
        chosen = np.sort(np.random.default_rng(0).permutation(members)[:MAX_CELLS])
        values = counts[chosen]
        sums = np.asarray(values.sum(axis=0), dtype=float).ravel()
        means.append(SCALE * sums / max(sums.sum(), 1))
        depths.append(f"{np.median(np.asarray(values.sum(axis=1)).ravel()):,.0f}")
    return means, depths


def _distinguishing_genes(means: list[np.ndarray | None], names: pd.Index) -> list[str]:
    """Return the genes that tell the correct cells of the two labels apart; without these, the confused ones."""
    first, confused, second = means
    # no cell of a label that the reference lacks can be correct
    first = confused if first is None else first
    if first is None or second is None:
        return []
    return [str(names[gene]) for gene in largest(log_ratio_contributions(first / SCALE, second / SCALE), N_GENES)]
