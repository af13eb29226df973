"""The slots of an AnnData that may hold the counts: X, raw and the layers."""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from hrca.typing import StoredMatrix

from ._sources import QueryCells

# Values of `layer=` that select X and raw, unless a layer has that name.
X, RAW = "X", "raw"

# scvi-tools registers X or a layer.
RAW_REMEDY = (
    "A reference's counts must be in X or a layer: `adata = adata.raw.to_adata()`, or, for the genes of X, "
    "`adata.layers['counts'] = adata.raw[:, adata.var_names].X.copy()`."
)


@dataclass(frozen=True)
class CountSlot:
    """A slot of an AnnData that may hold the counts: X, raw, or a layer.

    Attributes
    ----------
    place
        "X", "raw" or "layers".
    name
        Name of the layer; equal to `place` for X and raw.
    """

    place: Literal["X", "raw", "layers"]
    name: str

    @property
    def owner(self) -> str:
        """The object that holds the gene table, as an expression: "adata" or "adata.raw"."""
        return "adata.raw" if self.place == "raw" else "adata"

    def matrix(self, adata: QueryCells) -> StoredMatrix:
        """Return the matrix as it is stored, shape (n_obs, n_vars)."""
        holder = self._holder(adata)
        return holder.layers[self.name] if self.place == "layers" else holder.X

    def var(self, adata: QueryCells) -> pd.DataFrame:
        """Return the table of the matrix's genes."""
        return table_in_memory(self._holder(adata).var)

    def _holder(self, adata: QueryCells) -> Any:
        """Return the object that holds the matrix; slots are made only for matrices that exist."""
        return adata.raw if self.place == "raw" else adata

    def __str__(self) -> str:
        return f"`adata.layers[{self.name!r}]`" if self.place == "layers" else f"`adata.{self.place}`"


def list_slots(adata: QueryCells, layer: str | None, *, with_raw: bool = True) -> list[CountSlot]:
    """List the slots to read: the one that `layer` names, or all that hold a matrix.

    Parameters
    ----------
    adata
        The cells.
    layer
        A layer, "X" or "raw"; None: all slots.
    with_raw
        Whether `layer` may name raw.

    Raises
    ------
    ValueError
        If there is no such layer, `layer` names raw and `with_raw` is False, or no slot holds a matrix.
    """
    if layer is None:
        return all_slots(adata) or [find_slot(adata, None)]
    slot = find_slot(adata, layer)
    if slot.place == "raw" and not with_raw:
        raise ValueError(f"{slot} was named, but cannot be registered. {RAW_REMEDY}")
    return [slot]


def all_slots(adata: QueryCells) -> list[CountSlot]:
    """List the slots that hold a matrix: X first, then the layers, then raw."""
    slots = [CountSlot("X", X)] if adata.X is not None else []
    slots += [CountSlot("layers", name) for name in layer_names(adata)]
    return slots if adata.raw is None else [*slots, CountSlot("raw", RAW)]


def find_slot(adata: QueryCells, layer: str | None) -> CountSlot:
    """Return the slot that `layer` names: a layer of that name, else X for "X" or None, else raw for "raw".

    Raises
    ------
    ValueError
        If there is no such layer, or X is empty.
    """
    if layer is not None and layer in layer_names(adata):
        return CountSlot("layers", layer)
    if layer == RAW and adata.raw is not None:
        return CountSlot("raw", RAW)
    if layer not in (None, X):
        raise ValueError(
            f"`layer` must name a layer of the AnnData, got {layer!r}; it has {layer_names(adata) or 'none'}. "
            f"{'Name one of these, or copy' if layer_names(adata) else 'Copy'} the raw counts there: "
            f"`adata.layers[{layer!r}] = adata.X.copy()`."
        )
    if adata.X is None:
        raise ValueError(
            "`adata.X` must hold the raw counts, but it is empty, and no other matrix was named or found. "
            "Put them there: `adata.X = ...`, or into a layer: `adata.layers['counts'] = ...`."
        )
    return CountSlot("X", X)


def layer_names(adata: QueryCells) -> list[str]:
    """List the names of the layers."""
    # anndata 0.13 lists X itself among the layers, under the name None
    return [name for name in adata.layers if name is not None]


def table_in_memory(table: Any) -> pd.DataFrame:
    """Return obs or var as a table; read one of a lazy AnnData."""
    return table if isinstance(table, pd.DataFrame) else table.to_memory()


def check_column_name(name: object, argument: str) -> None:
    """Check that the name of a column is one string.

    Parameters
    ----------
    name
        The name, as the user passed it.
    argument
        Name of the argument, for the error.

    Raises
    ------
    TypeError
        If it is anything else, such as a list of names.
    """
    if not isinstance(name, str):
        remedy = f": `{argument}={name[0]!r}`" if isinstance(name, list | tuple) and len(name) == 1 else ""
        raise TypeError(f"`{argument}` must be the name of one column, a string, got {name!r:.80}{remedy}.")


def check_single_column(table: pd.DataFrame, name: str, owner: str) -> None:
    """Check that a table has one column of a name.

    Parameters
    ----------
    table
        The table.
    name
        Name of one of its columns.
    owner
        Expression of the table in an error, e.g. "adata.obs".

    Raises
    ------
    ValueError
        If more than one column has the name.
    """
    n_columns = int((table.columns == name).sum())
    if n_columns > 1:
        raise ValueError(
            f"Names of columns must be unique, but `{owner}` has {n_columns} columns {name!r}. "
            f"`{owner} = {owner}.loc[:, ~{owner}.columns.duplicated()]` keeps the first of each name."
        )
