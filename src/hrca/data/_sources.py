"""What holds a query: an AnnData, a MuData, a SpatialData, an AnnCollection or a file; all look alike from here on."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anndata as ad
import h5py
import pandas as pd
import zarr
from anndata import AnnData
from anndata.experimental import AnnCollection
from mudata import MuData

from ._row_reader import SlicedMatrix


@dataclass(frozen=True)
class LazyRaw:
    """What `raw` is of an AnnData.

    Attributes
    ----------
    X
        Shape (n_obs, n_vars of raw).
    var
        Its genes.
    """

    X: object
    var: pd.DataFrame


@dataclass(frozen=True)
class LazyAnnData:
    """Cells that look like an AnnData, and of which no matrix is in memory.

    Attributes
    ----------
    X
        Shape (n_obs, n_vars), to be read by rows; None if there is none.
    layers
        Likewise.
    raw
        Likewise.
    obs
        Its cells.
    var
        Its genes.
    file
        What to close when all is read; None: nothing.
    """

    X: object
    layers: dict
    raw: LazyRaw | None
    obs: pd.DataFrame
    var: pd.DataFrame
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


# What a user may give as a query, but for SpatialData, which is an extra.
QueryInput = AnnData | MuData | AnnCollection | str | Path

# Where an annotation can go: into the object that was given, or into the file.
OutputTarget = AnnData | AnnCollection | Path


def open_query_input(source, modality: str) -> tuple[AnnData | LazyAnnData, OutputTarget]:
    """Find the cells in what a user gave as a query.

    Parameters
    ----------
    source
        AnnData, MuData, SpatialData with one table, AnnCollection, or the path of an h5ad file or a zarr folder.
    modality
        The modality of a MuData.

    Returns
    -------
    The cells, and where their annotation is to be written.

    Raises
    ------
    ValueError
        If the MuData lacks the modality, the SpatialData has not one table, or the file is not one of an AnnData.
    FileNotFoundError
        If there is no such file.
    TypeError
        If it is something else.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser().resolve()
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
    """Return a modality.

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
    """Return the one table of a SpatialData.

    Raises
    ------
    ValueError
        If there is none, or more than one, such as the bins of Visium HD.
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
    """Open an h5ad file or a zarr folder; of its matrices, nothing is read yet.

    Raises
    ------
    ValueError
        If it is neither, or is not of an AnnData.
    FileNotFoundError
        If there is no such file.
    """
    root = _open_root(path)
    # anndata before 0.7 had no encoding
    missing = [name for name in ("obs", "var") if name not in root or "_index" not in root[name].attrs]
    if missing or "mod" in root:
        raise ValueError(f"A file must hold an AnnData, but {str(path)!r} {_describe_other_format(root, path)}")
    matrices = {name: _matrix(root["layers"][name]) for name in root.get("layers", ())}
    raw = LazyRaw(_matrix(root["raw/X"]), ad.io.read_elem(root["raw/var"])) if "raw/X" in root else None
    return LazyAnnData(
        X=_matrix(root["X"]) if "X" in root else None,
        layers={name: x for name, x in matrices.items() if x is not None},
        raw=raw,
        obs=ad.io.read_elem(root["obs"]),
        var=ad.io.read_elem(root["var"]),
        file=root if isinstance(root, h5py.File) else None,
    )


def _open_root(path: Path) -> h5py.File | zarr.Group:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    if path.is_dir():
        try:
            return zarr.open_group(path, mode="r")
        except FileNotFoundError as error:
            raise ValueError(f"A folder must be a zarr store, but {str(path)!r} is not one.") from error
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"A file must be an h5ad file or a zarr folder, but {str(path)!r} is neither. Read it by what reads its "
            "kind, e.g. `scanpy.read_10x_mtx`, `scanpy.read_csv` or `scanpy.read_loom`, and give the AnnData."
        )
    return h5py.File(path, "r")


def _describe_other_format(root: h5py.File | zarr.Group, path: Path) -> str:
    if "mod" in root:
        return "holds a MuData: `mudata.read(path)` reads it; give that."
    if "tables" in root:
        names = list(root["tables"])
        first = path / "tables" / (names[0] if names else "...")
        return f"holds a SpatialData with the tables {names}: give the path of one, {str(first)!r}."
    if "matrix" in root:
        return "has 10x Genomics' own format: `scanpy.read_10x_h5(path)` reads it; give that."
    return "lacks obs or var, or is of anndata before 0.7: `anndata.read_h5ad(path)` reads that; give what comes out."


def _matrix(stored):
    kind = stored.attrs.get("encoding-type", "")
    if kind in ("csr_matrix", "csc_matrix"):
        return ad.io.sparse_dataset(stored)
    return stored if hasattr(stored, "shape") and len(stored.shape) == 2 else None


def _from_collection(collection: AnnCollection) -> LazyAnnData:
    obs = collection.obs if collection.obs is not None else pd.DataFrame(index=collection.obs_names)
    var = collection.adatas[0].var.reindex(collection.var_names)
    names = (collection.attrs_keys.get("layers") or ()) if collection.attrs_keys else ()
    return LazyAnnData(
        X=SlicedMatrix(collection.shape, lambda rows: collection[rows].X),
        layers={name: SlicedMatrix(collection.shape, partial(_layer, collection, name)) for name in names},
        raw=None,
        obs=obs,
        var=var,
    )


def _layer(collection: AnnCollection, name: str, rows: slice):
    return collection[rows].layers[name]


def _is_spatialdata(source) -> bool:
    module = sys.modules.get("spatialdata")
    return module is not None and isinstance(source, module.SpatialData)
