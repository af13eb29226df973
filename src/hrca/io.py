"""Read cells of any format into memory, and write their labels for other programs."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData

from hrca._paths import user_path
from hrca._records import shown_labels
from hrca.data._formats import file_format, table_path
from hrca.data._sources import get_modality, get_table, open_file, read_uns

__all__ = ["read_cells", "write_cells", "write_groups"]

# Column of obs in which spatialdata-io keeps the cell ids of Xenium: its index has numbers.
CELL_ID = "cell_id"

# Name of the table of some bins of Visium HD, with their width in um.
BINS = re.compile(r"square_0*(?P<size>\d+)um")

# Name of the table of the segmented cells of Visium HD in spatialdata-io.
SEGMENTED_CELLS = "cell_segmentations"

# What spatialdata-io reads of a Xenium folder beside the table of cells, which alone has counts.
XENIUM_WITHOUT = (
    *("cells_boundaries", "nucleus_boundaries", "cells_as_circles", "cells_labels", "nucleus_labels", "transcripts"),
    *("morphology_mip", "morphology_focus", "aligned_images"),
)


def read_cells(path: str | Path, *, table: str | None = None) -> AnnData:
    """Read cells of the formats below into memory.

    Parameters
    ----------
    path
        An h5ad file; the folder of an AnnData or a SpatialData in zarr; an h5mu file, whose modality "rna" is read; a
        feature-barcode matrix of 10x Genomics (h5); or the output folder of a Xenium or of Space Ranger for Visium HD,
        which need the extra ``io``.
    table
        Name of the table of a SpatialData. For Visium HD: "square_008um" for the bins of 8 µm and so on, or
        "cell_segmentations" for the segmented cells, whose centroids are then in ``obsm["spatial"]``. None: the only
        table.

    Returns
    -------
    The cells.

    Raises
    ------
    ValueError
        If the file has none of these formats, lacks the table, or has more than one and `table` is None.
    FileNotFoundError
        If there is no such file.
    ImportError
        If the folder needs the extra ``io``, and it is not installed.
    OSError
        If the file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> import hrca
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hrca.datasets.pbmc68k().write_h5ad(f"{folder}/blood.h5ad")
    ...     hrca.io.read_cells(f"{folder}/blood.h5ad").shape
    (700, 765)
    """
    path = user_path(path)
    kind = file_format(path)
    if kind == "spatialdata":
        return ad.read_zarr(table_path(path, table))
    if table is not None and kind != "visium_hd":
        raise ValueError(f"`table` names a table of a SpatialData or bins of Visium HD, got {table!r} for {path}.")
    return READERS[kind](path) if kind != "visium_hd" else _read_visium_hd(path, table)


def _read_anndata(path: Path) -> AnnData:
    cells = open_file(path)  # raises for a file that holds something else
    if cells.file is not None:
        cells.file.close()
    return ad.read_zarr(path) if path.is_dir() else ad.read_h5ad(path)


def _read_mudata(path: Path) -> AnnData:
    import mudata

    return get_modality(mudata.read(path), "rna")


def _read_10x_h5(path: Path) -> AnnData:
    import scanpy as sc

    return sc.read_10x_h5(path)


def _read_xenium(path: Path) -> AnnData:
    return get_table(_spatialdata_io(path).xenium(path, **dict.fromkeys(XENIUM_WITHOUT, False)).tables)


def _read_visium_hd(path: Path, table: str | None) -> AnnData:
    bins, is_segmented = BINS.fullmatch(table or ""), table == SEGMENTED_CELLS
    size = None if bins is None else int(bins["size"])  # the bins of 2 um, which are then not read, take gigabytes
    data = _spatialdata_io(path).visium_hd(
        path, bin_size=size, load_segmentations_only=is_segmented, load_all_images=False
    )
    if table is None:
        return get_table(data.tables)
    if table not in data.tables:
        raise ValueError(
            f"`table` must be one of the bins in {str(path)!r}, or {SEGMENTED_CELLS!r} for cells that Space Ranger has "
            f"segmented, got {table!r}; the folder has {list(data.tables)}."
        )
    cells = data.tables[table]
    return _with_centroids(cells, data.shapes) if is_segmented else cells


def _with_centroids(cells: AnnData, shapes: Mapping[str, Any]) -> AnnData:
    """Return cells with the centroids of their polygons as coordinates, which spatialdata-io gives to bins alone."""
    attributes = cells.uns["spatialdata_attrs"]
    polygons = shapes[str(np.atleast_1d(attributes["region"])[0])].loc[cells.obs[attributes["instance_key"]]]
    centroids = polygons.centroid
    cells.obsm["spatial"] = np.column_stack([centroids.x, centroids.y])
    return cells


def _spatialdata_io(path: Path) -> Any:
    try:
        import spatialdata_io
    except ImportError as error:
        raise ImportError(
            f"The folder {str(path)!r} is read by spatialdata-io, which is not installed: `pip install 'hrca[io]'`. "
            "The h5 file with the feature-cell matrix in this folder can be read without it."
        ) from error
    return spatialdata_io


READERS: dict[str, Callable[[Path], AnnData]] = {
    "h5ad": _read_anndata,
    "zarr": _read_anndata,
    "mudata": _read_mudata,
    "10x_h5": _read_10x_h5,
    "xenium": _read_xenium,
}


def write_cells(adata: AnnData, path: str | Path) -> None:
    """Write cells completely or not at all: an h5ad file, or a zarr folder where the name ends with ``.zarr``.

    Parameters
    ----------
    adata
        The cells.
    path
        The file or folder. It must not exist.

    Raises
    ------
    FileExistsError
        If it exists.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hrca
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hrca.io.write_cells(hrca.datasets.pbmc68k(), f"{folder}/blood.zarr")
    ...     hrca.io.read_cells(f"{folder}/blood.zarr").n_obs
    700
    """
    path = user_path(path)
    if path.exists():
        raise FileExistsError(f"{path} must not exist, but does. Name another file, or remove it.")
    with _unfinished(path) as unfinished:
        if path.suffix == ".zarr":
            adata.write_zarr(unfinished)
        else:
            adata.write_h5ad(unfinished)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Give a name to write to. A failure leaves no part of a file. The ending is kept: pandas compresses by it."""
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        yield folder / path.name
        (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_groups(
    adata: AnnData | str | Path, path: str | Path, *, key_added: str = "hrca", keep_novel_labels: bool = False
) -> None:
    """Write the group of each cell as a csv file for Xenium Explorer, with the columns ``cell_id`` and ``group``.

    The group is the label. A cell that is probably of none of the labels, with a novel probability of at least .5, has
    the group "Unknown", or the `unlabeled_category` of the model: the file has no other column that could say so. In
    obs, such a cell keeps its most probable label.

    Cells that were not predicted, with a missing label, are left out. Xenium Explorer shows them without a group.

    Parameters
    ----------
    adata
        Annotated cells, or the h5ad file or zarr folder that has them. The ids are those in ``obs["cell_id"]``, where
        spatialdata-io keeps Xenium's; without this column, the names of the cells.
    path
        The file. It is replaced when the new one is complete.
    key_added
        Name of the labels in obs.
    keep_novel_labels
        If True, the group of each cell is its label in obs.

    Raises
    ------
    ValueError
        If obs has no such labels.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hrca
    >>> import pandas as pd
    >>> adata = hrca.datasets.pbmc68k()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hrca.io.write_groups(adata, f"{folder}/groups.csv", key_added="bulk_labels")
    ...     pd.read_csv(f"{folder}/groups.csv").iloc[0].to_dict()
    {'cell_id': 'AAAGCCTGGCTAAC-1', 'group': 'CD14+ Monocyte'}
    """
    path = user_path(path)
    obs, uns = _annotation(adata if isinstance(adata, AnnData) else user_path(adata))
    if key_added not in obs:
        raise ValueError(
            f"The cells must have labels in obs[{key_added!r}], but obs has {list(obs.columns)}. "
            "`model.predict(adata)` writes them, and `key_added` names them."
        )
    groups = obs[key_added] if keep_novel_labels else shown_labels(obs, uns, key_added)
    is_predicted = groups.notna().to_numpy()
    ids = (obs[CELL_ID] if CELL_ID in obs else obs.index)[is_predicted]
    table = pd.DataFrame({CELL_ID: _as_text(ids), "group": groups[is_predicted].astype(str).to_numpy()})
    with _unfinished(path) as unfinished:
        table.to_csv(unfinished, index=False)


def _annotation(cells: AnnData | Path) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Return obs, in memory, and uns."""
    if isinstance(cells, AnnData):
        obs, uns = cells.obs, cells.uns
    else:
        opened = open_file(cells)
        try:
            obs = opened.obs
        finally:
            if opened.file is not None:
                opened.file.close()
        uns = read_uns(cells)
    return obs, uns


def _as_text(ids: pd.Series | pd.Index) -> list[str]:
    """Return ids as text; early versions of Xenium's files have them as bytes."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in ids]
