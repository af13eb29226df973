"""A zarr store with the results of a query, which several processes write in blocks of cells.

Each block is one chunk of each array. Two processes therefore never write the same file, and a block that is written
twice is the same.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import zarr

from ._result import AnnDataEntries

# The element of anndata's format that an array of numbers is (anndata 0.12, on-disk format).
ARRAY_ENCODING = {"encoding-type": "array", "encoding-version": "0.2.0"}


def create_store(path: Path, template: AnnDataEntries, obs_names: pd.Index, n_block: int) -> None:
    """Create a store with names of cells and room for their results.

    Parameters
    ----------
    path
        A folder that does not exist.
    template
        Entries of no cells: names and types of the columns and arrays.
    obs_names
        Names of the cells, shape (n_obs,).
    n_block
        Number of cells in a block; the last one may be smaller.
    """
    names = pd.Index([str(name) for name in obs_names], dtype=object)
    with _quiet():
        ad.AnnData(obs=pd.DataFrame(index=names[:0])).write_zarr(path)
        root = _open_store(path)
        ad.io.write_elem(root, "obs", pd.DataFrame(index=names), dataset_kwargs={"chunks": (n_block,)})
        obs, obsm = root["obs"], root["obsm"]
        for name, column in template.obs.items():
            if isinstance(column.dtype, pd.CategoricalDtype):
                ad.io.write_elem(obs, name, column.array)
                del obs[name]["codes"]
                _create_array(obs[name], "codes", (len(names),), n_block, column.array.codes.dtype)
            else:
                _create_array(obs, name, (len(names),), n_block, column.dtype)
        obs.attrs["column-order"] = list(template.obs)
        for name, table in template.obsm.items():
            _create_array(obsm, name, (len(names), table.shape[1]), n_block, table.to_numpy().dtype)


def _create_array(group: Any, name: str, shape: tuple[int, ...], n_block: int, dtype: np.dtype) -> None:
    array = group.create_array(name, shape=shape, chunks=(n_block, *shape[1:]), dtype=dtype)
    array.attrs.update(ARRAY_ENCODING)


def read_names(path: Path, rows: slice) -> pd.Index:
    """Read the names of some cells.

    Parameters
    ----------
    path
        A store of :func:`create_store`.
    rows
        The cells.

    Raises
    ------
    FileNotFoundError
        If this process does not see the folder.
    """
    return pd.Index([str(name) for name in _open_store(path)["obs/_index"][rows]], dtype=object)


def write_tables(path: Path, start: int, parts: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Write the arrays of obsm of a block.

    Parameters
    ----------
    path
        A store of :func:`create_store`.
    start
        First cell of the block.
    parts
        Arrays of its cells by name, in parts, each of shape (n_part, n_columns).
    """
    obsm = _open_store(path)["obsm"]
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        obsm[name][start : start + len(values)] = values


def write_columns(path: Path, start: int, obs: pd.DataFrame) -> None:
    """Write the columns of obs of a block.

    Parameters
    ----------
    path
        A store of :func:`create_store`.
    start
        First cell of the block.
    obs
        Columns of its cells, shape (n_block, n_columns).
    """
    group = _open_store(path)["obs"]
    for name, column in obs.items():
        is_categorical = isinstance(column.dtype, pd.CategoricalDtype)
        array = group[name]["codes"] if is_categorical else group[name]
        array[start : start + len(obs)] = column.array.codes if is_categorical else column.to_numpy()


def finish_store(path: Path, uns: Mapping[str, dict]) -> None:
    """Write the provenance, and drop the categories that no cell has, after all blocks have been written.

    Parameters
    ----------
    path
        A store of :func:`create_store`.
    uns
        Entries of uns.
    """
    with _quiet():
        root = _open_store(path)
        for name in root["obs"].attrs["column-order"]:
            if root["obs"][name].attrs["encoding-type"] == "categorical":
                _drop_unused_categories(root["obs"][name])
        for name, entry in uns.items():
            ad.io.write_elem(root["uns"], name, entry)
        zarr.consolidate_metadata(str(path))


def _drop_unused_categories(column: zarr.Group) -> None:
    stored = ad.io.read_elem(column)
    used = stored.remove_unused_categories()
    if len(used.categories) < len(stored.categories):
        codes: Any = column["codes"]
        codes[:] = used.codes
        ad.io.write_elem(column, "categories", used.categories.to_numpy(dtype=object))


def _open_store(path: Path) -> Any:
    try:
        return zarr.open_group(path, mode="r+", use_consolidated=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Client and workers must see the same folders, but a worker does not see {str(path.parent)!r}. Give `out` "
            "on a file system that all of them share."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    # anndata announces its next version, and zarr the limits of its format 3
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "zarr v3 autosharding|Writing zarr v2|Consolidated metadata", UserWarning)
        yield
