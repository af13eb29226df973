"""Open every kind of query, AnnData, MuData, SpatialData, AnnCollection or file, with the fields of an AnnData."""

import glob
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anndata as ad
import h5py
import pandas as pd
import zarr
from anndata import AnnData
from anndata.experimental import AnnCollection
from mudata import MuData

from hrca._paths import user_path
from hrca.typing import CountMatrix, StoredMatrix

from ._row_reader import SlicedMatrix

# Seconds between the attempts to open an h5ad file: a writer's test whether others have it open locks it for a moment.
LOCK_WAITS_S = (0.01, 0.1, 0.5, 0.0)


@dataclass(frozen=True)
class LazyRaw:
    """The `raw` of an AnnData in a file.

    Attributes
    ----------
    X
        Matrix on disk, shape (n_obs, n_vars of raw).
    var
        Table of its genes.
    """

    X: StoredMatrix
    var: pd.DataFrame


@dataclass(frozen=True)
class LazyAnnData:
    """Cells with the fields of an AnnData, whose matrices are read row by row.

    Attributes
    ----------
    X
        Matrix on disk, shape (n_obs, n_vars); None if X is empty.
    layers
        Matrices of the same shape, by name.
    raw
        Matrix and genes of raw; None if there is no raw.
    obs
        Table of the cells.
    var
        Table of the genes.
    obsm_keys
        Names of the entries of obsm.
    uns_keys
        Names in each entry of uns; none for an entry that is no dictionary.
    file
        File to close after all matrices have been read; None if there is none.
    """

    X: StoredMatrix | None
    layers: dict[str, StoredMatrix]
    raw: LazyRaw | None
    obs: pd.DataFrame
    var: pd.DataFrame
    obsm_keys: tuple[str, ...] = ()
    uns_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file: h5py.File | None = None

    @property
    def obs_names(self) -> pd.Index:
        """Names of the cells."""
        return self.obs.index

    @property
    def var_names(self) -> pd.Index:
        """Names of the genes."""
        return self.var.index

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return len(self.obs)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var)


# The objects that a user can pass as a query, except SpatialData, which is an extra.
QueryInput: TypeAlias = AnnData | MuData | AnnCollection | str | Path

# The cells of a query, after it has been opened.
QueryCells: TypeAlias = AnnData | LazyAnnData

# The objects that results can be written to: the query itself, or its file.
OutputTarget: TypeAlias = AnnData | AnnCollection | Path

# An h5py.File or a zarr.Group: h5py has no types, and those of zarr do not tell groups from arrays.
StoredGroup: TypeAlias = Any


def open_query_input(source: QueryInput, modality: str) -> tuple[QueryCells, OutputTarget]:
    """Open the cells of a query.

    Parameters
    ----------
    source
        AnnData, MuData, SpatialData with one table, AnnCollection, or the path of an h5ad file or a zarr folder.
    modality
        Modality of a MuData that holds the counts.

    Returns
    -------
    The cells, and the object or file that results are written to.

    Raises
    ------
    ValueError
        If the MuData lacks the modality, the SpatialData does not have exactly one table, or the file does not hold an
        AnnData.
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` has another type.
    """
    if isinstance(source, str | Path):
        path = user_path(source).resolve()
        return open_file(path), path
    if isinstance(source, AnnCollection):
        return _from_collection(source), source
    if isinstance(source, MuData):
        source = get_modality(source, modality)
    elif _is_spatialdata(source):
        source = get_table(source.tables)
    if not isinstance(source, AnnData):
        raise TypeError(
            "A query must be an AnnData, a MuData, a SpatialData, an AnnCollection, or the path of an h5ad file or a "
            f"zarr folder, but it is a {type(source).__name__}. `anndata.AnnData(counts, obs=..., var=...)` makes one "
            "of a matrix and the names of its genes."
        )
    return source, source


def get_modality(mdata: MuData, name: str) -> AnnData:
    """Return a modality of a MuData.

    Parameters
    ----------
    mdata
        The MuData.
    name
        Name of the modality.

    Raises
    ------
    ValueError
        If there is no such modality.
    """
    if name not in mdata.mod:
        raise ValueError(
            f"The MuData must have the modality {name!r}, but it has {list(mdata.mod)}. "
            "Name the one with the counts: `modalities={'rna_layer': ...}` in the setup, `mdata['...']` as a query."
        )
    return mdata.mod[name]


def get_table(tables: Mapping[str, AnnData]) -> AnnData:
    """Return the only table of a SpatialData.

    Parameters
    ----------
    tables
        Tables by name.

    Raises
    ------
    ValueError
        If there is no table, or more than one, such as the bins of Visium HD.
    """
    names = list(tables)
    if len(names) != 1:
        remedy = (
            f"Name one: `sdata.tables[{names[0]!r}]`."
            if names
            else "Counts of cells or bins come as a table: `spatialdata.SpatialData(..., tables={'table': adata})`."
        )
        raise ValueError(f"The SpatialData must have one table, but it has {len(names)}: {names}. {remedy}")
    return tables[names[0]]


def open_file(path: Path) -> LazyAnnData:
    """Open an h5ad file or a zarr folder, without reading its matrices.

    Parameters
    ----------
    path
        The file or folder.

    Raises
    ------
    ValueError
        If it is neither, or does not hold an AnnData.
    FileNotFoundError
        If there is no such file.
    """
    root = open_root(path)
    # anndata before 0.7 had no encoding
    missing = [name for name in ("obs", "var") if name not in root or "_index" not in root[name].attrs]
    if missing or "mod" in root:
        raise ValueError(f"A file must hold an AnnData, but {str(path)!r} {_describe_other_format(root, path)}")
    matrices = {name: _stored_matrix(root["layers"][name]) for name in root.get("layers", ())}
    raw_x = _stored_matrix(root["raw/X"]) if "raw/X" in root else None
    return LazyAnnData(
        X=_stored_matrix(root["X"]) if "X" in root else None,
        layers={name: x for name, x in matrices.items() if x is not None},
        raw=LazyRaw(raw_x, ad.io.read_elem(root["raw/var"])) if raw_x is not None else None,
        obs=ad.io.read_elem(root["obs"]),
        var=ad.io.read_elem(root["var"]),
        obsm_keys=tuple(root.get("obsm", ())),
        uns_keys={name: _names(root["uns"][name]) for name in root.get("uns", ())},
        file=root if isinstance(root, h5py.File) else None,
    )


def entry_keys(adata: QueryCells) -> tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]]:
    """Return the names of the entries of obsm, and the names in each entry of uns.

    Parameters
    ----------
    adata
        The cells.
    """
    if isinstance(adata, LazyAnnData):
        return adata.obsm_keys, adata.uns_keys
    return tuple(adata.obsm), {
        name: tuple(entry) if isinstance(entry, Mapping) else () for name, entry in adata.uns.items()
    }


def read_uns(path: Path) -> dict[str, Any]:
    """Read the unstructured entries of an AnnData in a file, without its matrices.

    Parameters
    ----------
    path
        An h5ad file or a zarr folder.

    Raises
    ------
    ValueError
        If it is neither.
    FileNotFoundError
        If there is no such file.
    """
    root = open_root(path)
    try:
        return ad.io.read_elem(root["uns"]) if "uns" in root else {}
    finally:
        if isinstance(root, h5py.File):
            root.close()


def open_root(path: Path) -> StoredGroup:
    """Open the root group of an HDF5 file or a zarr folder for reading.

    Parameters
    ----------
    path
        The file or folder.

    Raises
    ------
    ValueError
        If it is neither, or an empty file.
    FileNotFoundError
        If there is no such file.
    OSError
        If the file is damaged, or open for writing in another program.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.{_describe_moved_store(path)}")
    if path.is_dir():
        try:
            return zarr.open_group(path, mode="r")
        except FileNotFoundError as error:
            if any(path.glob("*model.json")):
                raise ValueError(
                    f"{str(path)!r} must hold cells, but is the folder of a model. Name a file or folder with cells."
                ) from error
            if any(path.glob("*matrix.mtx*")):
                found = "holds 10x Genomics' matrix.mtx. `scanpy.read_10x_mtx(path)` reads it; pass that"
            else:
                found = "is not one. Read it with the function for its format, and pass the AnnData"
            raise ValueError(f"A folder must be a zarr store, but {str(path)!r} {found}.") from error
    if path.stat().st_size == 0:
        raise ValueError(f"{str(path)!r} is empty: it has 0 bytes. Copy or write it again.")
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"A file must be an h5ad file or a zarr folder, but {str(path)!r} is neither. Read it with the function "
            "for its format, e.g. `scanpy.read_10x_mtx`, `scanpy.read_csv` or `scanpy.read_loom`, and pass the AnnData."
        )
    for wait in LOCK_WAITS_S:
        try:
            return h5py.File(path, "r")
        except BlockingIOError:
            time.sleep(wait)
        except PermissionError:
            raise
        except OSError as error:
            raise OSError(
                f"A file must be readable, but {str(path)!r} cannot be opened: {error}. If it is truncated or damaged, "
                "copy or write it again."
            ) from error
    raise OSError(
        f"A file must not be written to while it is read, but {str(path)!r} is open for writing in another program. "
        "Close it there."
    )


def _describe_moved_store(path: Path) -> str:
    """Name what is left of a store whose writer was killed between two renames (docs/decisions/0006)."""
    left = sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp/{glob.escape(path.name)}.old"))
    if not left:
        return ""
    return f" A process that was killed while it wrote results left its content in {str(left[0])!r}: move it back."


def _describe_other_format(root: StoredGroup, path: Path) -> str:
    """Describe the format of a file without an AnnData, and name the function that reads it."""
    if "mod" in root:
        return "holds a MuData: `mudata.read(path)` reads it; pass that."
    if "tables" in root:
        names = list(root["tables"])
        table = path / "tables" / (names[0] if names else "...")
        return f"holds a SpatialData with the tables {names}: pass the path of one, {str(table)!r}."
    if "matrix" in root:
        return "has 10x Genomics' own format: `scanpy.read_10x_h5(path)` reads it; pass that."
    missing = [name for name in ("obs", "var") if name not in root]
    if missing:
        return f"has no {' and no '.join(missing)}, but {list(root)}: it is no AnnData."
    reader = "read_zarr" if path.is_dir() else "read_h5ad"
    return f"was written by anndata before 0.7: `anndata.{reader}(path)` reads that; pass that."


def _names(element: StoredGroup) -> tuple[str, ...]:
    """Return the names of the entries of a group; none for an array."""
    return tuple(element) if isinstance(element, h5py.Group | zarr.Group) else ()


def _stored_matrix(element: StoredGroup) -> StoredMatrix | None:
    """Return a matrix on disk; None for an element that is not a matrix."""
    if element.attrs.get("encoding-type", "") in ("csr_matrix", "csc_matrix"):
        return ad.io.sparse_dataset(element)
    return element if hasattr(element, "shape") and len(element.shape) == 2 else None


def _from_collection(collection: AnnCollection) -> LazyAnnData:
    """Return the cells of a collection."""
    names = (collection.attrs_keys.get("layers") or ()) if collection.attrs_keys else ()
    return LazyAnnData(
        X=SlicedMatrix(collection.shape, lambda rows: collection[rows].X),
        layers={name: SlicedMatrix(collection.shape, partial(_read_layer, collection, name)) for name in names},
        raw=None,
        obs=collection.obs if collection.obs is not None else pd.DataFrame(index=collection.obs_names),
        var=collection.adatas[0].var.reindex(collection.var_names),
    )


def _read_layer(collection: AnnCollection, name: str, rows: slice) -> CountMatrix:
    """Read some rows of a layer."""
    return collection[rows].layers[name]


def _is_spatialdata(source: object) -> bool:
    """Return True for a SpatialData; spatialdata need not be installed."""
    module = sys.modules.get("spatialdata")
    return module is not None and isinstance(source, module.SpatialData)
