"""Write the report of an annotated file, and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anndata import AnnData

from hrca import pl
from hrca.io import read_cells
from hrca.model._model import HRCA
from hrca.pl._cells import has_coordinates
from hrca.pl._spatial import check_microns_per_unit
from hrca.reporting._cells import AnnotatedCells
from hrca.reporting._report import check_has_coordinates, checked_cells, write_page

from ._checks import check_cell_files, prepare_folder
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
    arguments = arguments_of(REPORT_FLAGS, flags)
    key, units = arguments["key_added"], arguments["microns_per_unit"]
    check_microns_per_unit(units)
    check_cell_files(path)
    _check_places(out, pictures, path)
    model = None if folder is None else HRCA.load(folder, adata=False, accelerator="cpu")
    adata = read_cells(path, table=flags["table"])
    _check_annotation(adata, path, key)
    cells = checked_cells(adata, out, key, arguments["true_labels_key"], arguments["sample_key"])
    check_has_coordinates(cells, units)
    embedded = write_page(cells, out, model=model, microns_per_unit=units, title=arguments["title"])
    return [out, *([] if pictures is None else _draw(cells, embedded, pictures, units))]


def _check_places(out: Path, pictures: Path | None, cells: Path) -> None:
    """Check that the report and the pictures can be written, before any long work."""
    if out.is_dir():
        raise IsADirectoryError(f"`out` must be a file, but {str(out)!r} is a folder: `--out {out / 'report.html'}`.")
    if out.exists() and out.samefile(cells):
        raise ValueError(f"`out` must be another file than the cells, got {str(out)!r}. Name an HTML file.")
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"`out` must be an HTML file, got {str(out)!r}: its name must end with .html.")
    prepare_folder("out", out.parent)
    if pictures is not None:
        prepare_folder("pictures", pictures)


def _check_annotation(adata: AnnData, path: Path, key: str) -> None:
    if key not in adata.uns or key not in adata.obs:
        records = {name for name, entry in adata.uns.items() if isinstance(entry, Mapping) and "hrca_version" in entry}
        named = sorted(records & set(adata.obs))
        raise ValueError(
            f"{str(path)!r} must have an annotation {key!r}, but has {named or 'none'}. `hrca annotate` writes one, "
            "and `key_added` of `hrca report` names it."
        )


def _draw(cells: AnnotatedCells, embedded: AnnData | None, folder: Path, microns_per_unit: float | None) -> list[Path]:
    """Draw what the cells have: sections, the UMAP of the report, the composition of the samples."""
    adata, key, sample_key = cells.adata, cells.key, cells.sample_key
    written = []
    if has_coordinates(adata):
        for ending, name in SECTIONS.items():
            if ending is None or f"{key}_{ending}" in adata.obs:
                written.append(folder / name)
                places = {"sample_key": sample_key, "microns_per_unit": microns_per_unit}
                pl.spatial(adata, ending, key=key, save=written[-1], **places)
    if embedded is not None:
        written.append(folder / "umap.png")
        pl.umap(embedded, list(embedded.obs), key=key, save=written[-1])
    if sample_key is not None:
        written.append(folder / "composition.png")
        pl.composition(adata, sample_key, key=key, save=written[-1])
    return written
