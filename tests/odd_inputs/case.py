"""One unusual input, and a collection of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scanpy as sc

# Names of the model's genes: the symbols of the clean query, its Ensembl ids, or its symbols in a mouse's case.
SYMBOLS, ENSEMBL, MOUSE = "symbols", "ensembl", "mouse"


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    name
        Name in the table.
    make
        Makes the input from a copy of the clean query and an empty folder.
    is_right
        Whether it gets the labels of the clean query; else it is rejected.
    model
        Names of the model's genes: `SYMBOLS`, `ENSEMBL` or `MOUSE`.
    layer
        Value of `layer=`.
    rows
        Returns the position of each of its cells in the clean query, -1 for a new cell, from the number of cells; None:
        the cells are the same.
    """

    name: str
    make: Callable[[ad.AnnData, Path], ad.AnnData]
    is_right: bool
    model: str = SYMBOLS
    layer: str | None = None
    rows: Callable[[int], np.ndarray] | None = None


class Cases(dict[str, Case]):
    """Cases by name."""

    def add(self, name: str, *, right: bool = False, **settings: Any) -> Callable:
        """Add a case by decorating the function that makes it, in place or by returning another object."""

        def decorate(make: Callable) -> Callable:
            self[name] = Case(name, lambda adata, folder: _made(make, adata, folder), right, **settings)
            return make

        return decorate


def _made(make: Callable, adata: ad.AnnData, folder: Path) -> ad.AnnData:
    made = make(adata, folder) if make.__code__.co_argcount == 2 else make(adata)
    return adata if made is None else made


def log(adata: ad.AnnData, target_sum: float | None = 1e4, base: float | None = None) -> None:
    adata.X = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=target_sum)
    sc.pp.log1p(adata, base=base)
    adata.uns.clear()


def dense(adata: ad.AnnData) -> ad.AnnData:
    adata.X = adata.X.toarray()
    return adata


def scale(adata: ad.AnnData) -> None:
    log(adata)
    sc.pp.scale(dense(adata), max_value=10)
