"""Write the report of an annotated file, and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anndata import AnnData

from hrca import pl
from hrca.io import read_cells
from hrca.model._model import HRCA
from hrca.pl._cells import has_coordinates
from hrca.reporting import report

from ._flags import arguments_of
from ._report_flags import REPORT_FLAGS


def write_report(
    path: Path, out: Path, folder: Path | None, pictures: Path | None, flags: Mapping[str, Any]
) -> list[Path]:
    """Write the report of an annotated file, and pictures.

    Parameters
    ----------
    path
        The annotated file.
    out
        The HTML file.
    folder
        Folder of the model; None: a report without it.
    pictures
        Folder for pictures; None: none.
    flags
        Values of the flags of the command.

    Returns
    -------
    The files.

    Raises
    ------
    ValueError
        If the file has no annotation, or lacks a column.
    OSError
        If a file cannot be written.
    """
    adata = read_cells(path, table=flags["table"])
    arguments = arguments_of(REPORT_FLAGS, flags)
    _check_annotation(adata, path, arguments["key_added"])
    out.parent.mkdir(parents=True, exist_ok=True)
    model = None if folder is None else HRCA.load(folder, accelerator="cpu")
    report(adata, out, model=model, **arguments)
    return [out, *([] if pictures is None else _draw(adata, pictures, arguments))]


def _check_annotation(adata: AnnData, path: Path, key: str) -> None:
    if key not in adata.uns or key not in adata.obs:
        raise ValueError(
            f"{str(path)!r} must have an annotation {key!r}, but has none. `hrca annotate` writes "
            "one, and `key_added` names it."
        )


def _draw(adata: AnnData, folder: Path, arguments: Mapping[str, Any]) -> list[Path]:
    """Draw what the cells have: the section, the UMAP, the composition of the samples."""
    key, sample_key = arguments["key_added"], arguments["sample_key"]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if has_coordinates(adata):
        written.append(folder / "section.png")
        places = {"sample_key": sample_key, "microns_per_unit": arguments["microns_per_unit"]}
        pl.spatial(adata, key=key, save=written[-1], **places)
    if "X_umap" in adata.obsm:
        written.append(folder / "umap.png")
        pl.umap(adata, key=key, save=written[-1])
    if sample_key is not None:
        written.append(folder / "composition.png")
        pl.composition(adata, sample_key, key=key, save=written[-1])
    return written
