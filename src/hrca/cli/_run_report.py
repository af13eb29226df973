"""Write the report of an annotated file, and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anndata import AnnData

from hrca import pl
from hrca.io import read_cells
from hrca.model._model import HRCA
from hrca.pl._cells import has_coordinates
from hrca.reporting._cells import AnnotatedCells
from hrca.reporting._report import checked_cells, write_page

from ._flags import arguments_of
from ._report_flags import REPORT_FLAGS

# File of each picture of a section, by the column that colors it; None: the labels.
SECTIONS = {
    None: "section.png",
    "confidence": "section_confidence.png",
    "novel_probability": "section_novel_probability.png",
}


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
    key, units = arguments["key_added"], arguments["microns_per_unit"]
    _check_annotation(adata, path, key)
    out.parent.mkdir(parents=True, exist_ok=True)
    model = None if folder is None else HRCA.load(folder, adata=False, accelerator="cpu")
    cells = checked_cells(adata, out, key, arguments["true_labels_key"], arguments["sample_key"])
    embedded = write_page(cells, out, model=model, microns_per_unit=units, title=arguments["title"])
    return [out, *([] if pictures is None else _draw(cells, embedded, pictures, units))]


def _check_annotation(adata: AnnData, path: Path, key: str) -> None:
    if key not in adata.uns or key not in adata.obs:
        raise ValueError(
            f"{str(path)!r} must have an annotation {key!r}, but has none. `hrca annotate` writes "
            "one, and `key_added` names it."
        )


def _draw(cells: AnnotatedCells, embedded: AnnData, folder: Path, microns_per_unit: float | None) -> list[Path]:
    """Draw what the cells have: sections, the UMAP of the report, the composition of the samples."""
    adata, key, sample_key = cells.adata, cells.key, cells.sample_key
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if has_coordinates(adata):
        for ending, name in SECTIONS.items():
            if ending is None or f"{key}_{ending}" in adata.obs:
                written.append(folder / name)
                places = {"sample_key": sample_key, "microns_per_unit": microns_per_unit}
                pl.spatial(adata, ending, key=key, save=written[-1], **places)
    written.append(folder / "umap.png")
    pl.umap(embedded, list(embedded.obs), key=key, save=written[-1])
    if sample_key is not None:
        written.append(folder / "composition.png")
        pl.composition(adata, sample_key, key=key, save=written[-1])
    return written
