"""The places of an AnnData that may hold the counts: X, raw and the layers."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from anndata import AnnData

# What to write for `layer=` to mean these, unless a layer has that name.
X, RAW = "X", "raw"


@dataclass(frozen=True)
class CountSlot:
    """A place in an AnnData that may hold the counts: X, raw, or a layer.

    Attributes
    ----------
    place
        "X", "raw" or "layers".
    name
        Name of the layer; of the others, the place.
    """

    place: Literal["X", "raw", "layers"]
    name: str

    def matrix(self, adata: AnnData):
        """Return the matrix as it is stored, shape (n_obs, n_vars)."""
        if self.place == "layers":
            return adata.layers[self.name]
        return adata.X if self.place == "X" else adata.raw.X

    def var(self, adata: AnnData) -> pd.DataFrame:
        """Return the table of its genes."""
        return table_in_memory(adata.raw.var if self.place == "raw" else adata.var)

    def __str__(self) -> str:
        return f"`adata.layers[{self.name!r}]`" if self.place == "layers" else f"`adata.{self.place}`"


def all_slots(adata: AnnData) -> list[CountSlot]:
    """List the places that hold a matrix: X first, then the layers, then raw."""
    slots = [CountSlot("X", X)] if adata.X is not None else []
    slots += [CountSlot("layers", name) for name in layer_names(adata)]
    return slots if adata.raw is None else [*slots, CountSlot("raw", RAW)]


def find_slot(adata: AnnData, layer: str | None) -> CountSlot:
    """Return the place that `layer` names: a layer; else, for "X" or None, X; for "raw", raw.

    Raises
    ------
    ValueError
        If there is no such layer, or X is empty.
    """
    if layer in layer_names(adata):
        return CountSlot("layers", layer)
    if layer == RAW and adata.raw is not None:
        return CountSlot("raw", RAW)
    if layer not in (None, X):
        raise ValueError(
            f"`layer` must name a layer of the AnnData, got {layer!r}; it has {layer_names(adata)}. "
            "Name one of these, or copy the raw counts there: "
            f"`adata.layers[{layer!r}] = adata.X.copy()`."
        )
    if adata.X is None:
        raise ValueError(
            "`adata.X` must hold the raw counts, but it is empty, and no other place was named or found. "
            "Put them there: `adata.X = ...`, or into a layer: `adata.layers['counts'] = ...`."
        )
    return CountSlot("X", X)


def layer_names(adata: AnnData) -> list[str]:
    """List the names of the layers."""
    # anndata 0.13 lists X itself among the layers, under the name None
    return [name for name in adata.layers if name is not None]


def table_in_memory(table) -> pd.DataFrame:
    """Return obs or var as a table, read where anndata had not yet."""
    return table if isinstance(table, pd.DataFrame) else table.to_memory()
