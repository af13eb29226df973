"""What is explained: single cells or groups of cells, each with a label and the label that it is compared with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hrca.data._name_hash import uniform_from_names

from ._label_scores import LabelScores


@dataclass(frozen=True)
class Units:
    """Cells or groups to explain.

    Attributes
    ----------
    names
        Name of each unit, shape (n_units,).
    unit
        Index of the unit of each cell, ascending, shape (n_cells,).
    codes, against
        Index of both labels of each unit, shape (n_units,).
    """

    names: np.ndarray
    unit: np.ndarray
    codes: np.ndarray
    against: np.ndarray

    @property
    def n_cells(self) -> np.ndarray:
        """Number of cells of each unit, shape (n_units,)."""
        return np.bincount(self.unit, minlength=len(self.names))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of each unit over its cells, shape (n_units, ...).

        Parameters
        ----------
        values
            Numbers of the cells, shape (n_cells, ...).
        """
        starts = np.cumsum(self.n_cells) - self.n_cells
        return np.add.reduceat(values, starts, axis=0) / self.n_cells.reshape(-1, *(1 for _ in values.shape[1:]))

    def blocks(self, n_cells: int) -> "Iterator[tuple[slice, Units]]":
        """Divide the units into parts of some cells; a larger unit is a part of its own.

        Parameters
        ----------
        n_cells
            Number of cells of a part.

        Yields
        ------
        The cells of the part, and its units.
        """
        ends = np.cumsum(self.n_cells)
        first = 0
        while first < len(self.names):
            begin = ends[first] - self.n_cells[first]
            last = max(first + 1, int(np.searchsorted(ends, begin + n_cells, side="right")))
            cells, units = slice(int(begin), int(ends[last - 1])), slice(first, last)
            yield cells, Units(self.names[units], self.unit[cells] - first, self.codes[units], self.against[units])
            first = last


def choose_rows(groups: pd.Series | None, rows: np.ndarray, obs_names: np.ndarray, n_cells: int) -> np.ndarray:
    """Choose the cells that are read: all, or some of each group, by their names.

    Parameters
    ----------
    groups
        Group of each cell of the query, missing for a cell of none, shape (n_obs,); None: each cell is explained.
    rows
        Positions of the cells that may be chosen, shape (n_rows,).
    obs_names
        Names of the query's cells, shape (n_obs,).
    n_cells
        Maximum number of cells of a group.

    Returns
    -------
    Positions of the cells; with groups in the order of the groups.
    """
    if groups is None:
        return rows
    table = pd.DataFrame({"group": groups.to_numpy()[rows], "row": rows, "draw": uniform_from_names(obs_names[rows])})
    table = table.dropna(subset="group").sort_values("draw", kind="stable")
    chosen = table.groupby("group", observed=True).head(n_cells)
    return chosen.sort_values(["group", "row"], kind="stable")["row"].to_numpy()


def make_units(
    scores: LabelScores, names: np.ndarray, labels: list[str], *, label: str | None, against: str | None, grouped: bool
) -> Units:
    """Choose the label of each unit, and the label that it is compared with.

    Parameters
    ----------
    scores
        Scores of the cells.
    names
        Name of each cell's unit, shape (n_cells,), equal names together.
    labels
        Names of the labels, in the order of the scores.
    label
        The label of all units; None: the most likely label of the unit's cells, of a group the commonest.
    against
        The label to compare with; None: the other label with the highest mean score.
    grouped
        If True, cells with the same name form a unit; otherwise each cell is one.

    Returns
    -------
    The units.

    Raises
    ------
    ValueError
        If `against` is the label of a unit itself.
    """
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if grouped else np.arange(len(names))
    unit = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(names)]))
    units = Units(names[starts], unit, np.zeros(0), np.zeros(0))
    total = scores.total
    votes = units.mean(np.eye(len(labels))[total.argmax(axis=1)])
    codes = votes.argmax(axis=1) if label is None else np.full(len(starts), labels.index(label))
    rest = units.mean(total)
    rest[np.arange(len(codes)), codes] = -np.inf
    others = rest.argmax(axis=1) if against is None else np.full(len(starts), labels.index(against))
    if (codes == others).any():
        same = units.names[codes == others]
        raise ValueError(
            f"`against` must be another label than that of the cells, but {against!r} is the most likely label of "
            f"{', '.join(map(str, same[:3]))}{' and others' if len(same) > 3 else ''}. Name the label to explain: "
            "`label=`; or leave these cells out."
        )
    return Units(units.names, unit, codes, others)


def check_labels(labels: list[str], given: Mapping[str, str | None]) -> None:
    """Check that labels are among those of the model, and are different.

    Parameters
    ----------
    labels
        Names of the labels.
    given
        The label by the name of its argument; None: not given.

    Raises
    ------
    ValueError
        If a label is not one of the model's, two are the same, or the model has one label.
    """
    if len(labels) < 2:
        raise ValueError(f"An explanation compares two labels, but the model has only {labels}.")
    for argument, name in given.items():
        if name is not None and name not in labels:
            shown = ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")
            raise ValueError(
                f"`{argument}` must be one of the model's {len(labels)} labels, got {name!r}. They are {shown}; "
                "`model.labels` has them all. A level above the labels has no profile of its own."
            )
    names = [name for name in given.values() if name is not None]
    if len(set(names)) < len(names):
        raise ValueError(f"`label` and `against` must be different labels, got {names[0]!r} for both.")
