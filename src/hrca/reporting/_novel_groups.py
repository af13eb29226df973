"""Groups of cells of none of the labels, labels that the reference explains worst, expression of sampled cells."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca.annotation._left_out_labels import left_out_sentence
from hrca.annotation._prediction_warnings import N_NAMED, REJECTED_WARNING_FACTOR
from hrca.pl._expression import log_normalised
from hrca.pl._markers import MIN_CELLS_PER_LABEL
from hrca.pl._novelty import N_BINS
from hrca.pl._palette import is_no_label

from ._cells import AnnotatedCells


def normalised_sample(cells: AnnotatedCells) -> AnnData:
    """Return the sampled cells with log1p of counts per 10,000 in X, without genes that have no count in them.

    Parameters
    ----------
    cells
        The cells.
    """
    sample = log_normalised(cells.sample_counts, pd.DataFrame(index=cells.sample_rows.astype(str)), cells.gene_names)
    return sample[:, np.asarray(sample.X.sum(axis=0)).ravel() > 0].copy()


def novel_groups(cells: AnnotatedCells) -> list[dict[str, Any]] | None:
    """Return the groups of novel cells that the prediction found, the largest first: those that its warning names.

    Parameters
    ----------
    cells
        The cells.

    Returns
    -------
    For each group, its number of cells in ``n_cells``, the most common label of its cells in ``label``, and the genes
    that distinguish them in ``genes``. None if the prediction has no record of groups.
    """
    if "novel_groups" not in cells.record:
        return None
    return pd.DataFrame(dict(cells.record["novel_groups"])).to_dict("records")


def unnoticed_sentence(cells: AnnotatedCells) -> str | None:
    """Return a sentence on the labels that could be missing from the reference unnoticed; None if it is not known.

    Parameters
    ----------
    cells
        The cells.
    """
    table = cells.record.get("left_out_labels")
    return None if table is None else left_out_sentence(table)


def worst_explained_labels(cells: AnnotatedCells) -> list[tuple[str, float, int]]:
    """Return the labels that the reference explains worst: their row in the picture of novelty is red at its end.

    The last bin of novelty has more of their cells than the warning of rejected cells allows.

    Parameters
    ----------
    cells
        The cells.

    Returns
    -------
    Label, fraction of its cells in the last bin, and number of its cells, the largest fraction first.
    """
    novelty = cells.column("novelty")
    if novelty is None:
        return []
    table = pd.DataFrame({"label": cells.labels, "is_last": novelty >= 1 - 1 / N_BINS})[np.isfinite(novelty)]
    groups = table[~table["label"].map(is_no_label)].groupby("label")["is_last"].agg(["mean", "size"])
    worst = groups[(groups["mean"] > REJECTED_WARNING_FACTOR / N_BINS) & (groups["size"] >= MIN_CELLS_PER_LABEL)]
    worst = worst.sort_values("mean", ascending=False, kind="stable")[:N_NAMED]
    return [(str(label), float(row["mean"]), int(row["size"])) for label, row in worst.iterrows()]
