"""The cells that stand for all cells of a large reference."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

# Seed of the cells that are the same in all epochs. Any fixed number serves.
SAMPLING_SEED = 0


def n_sampled_cells(codes: np.ndarray, *limits: int | None) -> int:
    """Return the number of cells if each label has at most the smallest limit; None: no limit."""
    smallest = min((limit for limit in limits if limit is not None), default=None)
    return len(LabelSampler(codes, smallest))


def stratified_numbers(n_cells: np.ndarray, n_drawn: int | None) -> np.ndarray:
    """Share a number of draws among labels, in proportion to their cells.

    Parameters
    ----------
    n_cells
        Number of cells of each label, each at least 1, shape (n_labels,).
    n_drawn
        Number of draws; None: all cells.

    Returns
    -------
    Number of draws of each label, at least 1 and at most its cells. Their sum is `n_drawn`, or the number of labels if
    that is larger; with fewer cells than `n_drawn`, that of all cells.

    Examples
    --------
    >>> stratified_numbers(np.array([900, 90, 10, 1]), 100)
    array([88,  9,  2,  1])
    """
    if n_drawn is None or n_cells.sum() <= n_drawn:
        return n_cells
    # one draw of each label, the others in proportion to the other cells
    others, n_others = n_cells - 1, max(n_drawn - len(n_cells), 0)
    ends = np.round(np.cumsum(others) * (n_others / max(others.sum(), 1))).astype(int)
    return 1 + np.diff(ends, prepend=0)


def sample_stratified(
    cells: np.ndarray, codes: np.ndarray, *, n_drawn: int | None = None, max_per_label: int | None = None
) -> np.ndarray:
    """Choose cells in proportion to their labels, always the same ones.

    Parameters
    ----------
    cells
        Indices of the cells, sorted.
    codes
        Label code of each of these cells.
    n_drawn
        Number of cells; None: all.
    max_per_label
        Maximum number of cells of a label; None: all.

    Returns
    -------
    Indices of the chosen cells, sorted.
    """
    # the split of the reference is random, and a resumed training must choose the same cells
    rng = np.random.default_rng(SAMPLING_SEED)
    labels = [rng.permutation(cells[codes == code]) for code in np.unique(codes)]
    n_cells = np.array([len(label) for label in labels], dtype=int)
    numbers = stratified_numbers(n_cells if max_per_label is None else np.minimum(n_cells, max_per_label), n_drawn)
    return np.sort(np.concatenate([cells[:0], *(label[:n] for label, n in zip(labels, numbers, strict=True))]))


class LabelSampler(Sampler[int]):
    """A new draw of cells in each epoch, stratified by their labels, in random order.

    Parameters
    ----------
    codes
        Label code of each cell, shape (n_obs,).
    n_samples_per_label
        Maximum number of cells of a label; None: all.
    n_drawn
        Maximum number of cells; each label has its share of them. None: all.
    """

    def __init__(self, codes: np.ndarray, n_samples_per_label: int | None, n_drawn: int | None = None):
        self.labels = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        n_cells = np.array([len(cells) for cells in self.labels], dtype=int)
        if n_samples_per_label is not None:
            n_cells = np.minimum(n_cells, n_samples_per_label)
        self.n_drawn_by_label = stratified_numbers(n_cells, n_drawn)

    def __len__(self) -> int:
        return int(self.n_drawn_by_label.sum())

    def __iter__(self) -> Iterator[int]:
        # torch's generator, whose state a checkpoint has
        drawn = [
            cells[torch.randperm(len(cells)).numpy()[:n]]
            for cells, n in zip(self.labels, self.n_drawn_by_label, strict=True)
        ]
        chosen = np.concatenate(drawn)
        yield from chosen[torch.randperm(len(chosen)).numpy()].tolist()
