"""The cells of a command."""

from pathlib import Path

from anndata import AnnData

from hrca.data._formats import WRITABLE_FORMATS, file_format, table_path
from hrca.io import read_cells


def open_cells(path: Path, table: str | None) -> Path | AnnData:
    """Return what HRCA reads in batches, or cells in memory for other formats.

    Parameters
    ----------
    path
        The file or folder.
    table
        Name of the table in a SpatialData, or of bins of Visium HD; None: the only one.
    """
    kind = file_format(path)
    if kind == "spatialdata":
        return table_path(path, table)
    return path if kind in WRITABLE_FORMATS and table is None else read_cells(path, table=table)
