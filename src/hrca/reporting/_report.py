"""Assemble the report of a prediction and write it."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from hrca import pl
from hrca._messages import counted
from hrca._paths import user_path
from hrca._records import UNLABELED
from hrca._warnings import warn_user
from hrca.model._model import HRCA
from hrca.pl._cells import counts_of, has_coordinates, table_of
from hrca.pl._markers import MIN_CELLS_PER_LABEL
from hrca.pl._palette import is_no_label
from hrca.pl._spatial import check_microns_per_unit

from ._cells import AnnotatedCells, decisions, label_table, summary
from ._confusions import MIN_CELLS, confusion_table
from ._explorer import explorer
from ._model_facts import LabelProfiles, check_model, model_card, profiles_of
from ._novel_groups import normalised_sample, novel_groups, unnoticed_sentence, worst_explained_labels
from ._pictures import Picture, embedding, frequent_groups, frequent_note, picture, sections, umap_picture

TEMPLATE = "report.html.j2"


def report(
    adata: Any,
    path: str | Path,
    *,
    key_added: str = "hrca",
    model: HRCA | None = None,
    true_labels_key: str | None = None,
    sample_key: str | None = None,
    microns_per_unit: float | None = None,
    title: str | None = None,
) -> Path:
    """Write a report of a prediction: one HTML file, which a browser opens without a network.

    It has the warnings of the prediction; labels and their confidence; the section and a UMAP; the composition of the
    samples; cells of types that the reference lacks, with their genes; prediction sets; confusions, and the genes that
    tell the confused labels apart; the inputs and decisions; and the model's card.

    Parameters
    ----------
    adata
        Cells after :meth:`hrca.HRCA.predict`: an AnnData, or a SpatialData with one annotated table. It does not
        change.
    path
        The file to write. An existing one is replaced.
    key_added
        The `key_added` that was given to :meth:`hrca.HRCA.predict`.
    model
        The model of the prediction. It adds its card, its training, the marker genes of the labels in the reference,
        and the genes behind the confusions. None: a report without these.
    true_labels_key
        Column of obs with known labels, if there are any: they add the confusion matrix and the reliability of the
        confidences. As in :meth:`hrca.HRCA.evaluate`, cells whose label the model does not know are not scored.
    sample_key
        Column of obs with the sample or section of each cell.
    microns_per_unit
        Length of one unit of the coordinates in micrometers; see :func:`hrca.pl.spatial`.
    title
        Title of the report. None: "Cell types" and the number of cells.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError
        If there is no prediction under this key, or no cell; a column is not in obs; the model knows none of the known
        labels; the matrix that `predict` read is not there; `model` is not the model of the prediction; or
        `microns_per_unit` is not positive, or is given for cells without coordinates.
    FileNotFoundError
        If the folder of `path` does not exist.

    Warns
    -----
    UserWarning
        If more than a tenth of the cells with a known label are not scored.

    Examples
    --------
    >>> import hrca
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> names = [f"cell{i}" for i in range(24)]
    >>> obs = pd.DataFrame({"hrca": ["B"] * 12 + ["T"] * 12}, index=names)
    >>> counts = np.random.default_rng(0).poisson(2.0, (24, 5)).astype("float32")
    >>> with TemporaryDirectory() as folder:
    ...     path = hrca.report(AnnData(counts, obs=obs), Path(folder) / "report.html")
    ...     "24 cells" in path.read_text(encoding="utf-8")
    True
    """
    path = user_path(path)
    check_microns_per_unit(microns_per_unit)
    cells = checked_cells(adata, path, key_added, true_labels_key, sample_key)
    check_has_coordinates(cells, microns_per_unit)
    write_page(cells, path, model=model, microns_per_unit=microns_per_unit, title=title)
    return path


def write_page(
    cells: AnnotatedCells,
    path: Path,
    *,
    model: HRCA | None = None,
    microns_per_unit: float | None = None,
    title: str | None = None,
) -> AnnData | None:
    """Write the report of checked cells.

    Parameters
    ----------
    cells
        The cells; see :func:`checked_cells`.
    path, model, microns_per_unit, title
        See :func:`report`.

    Returns
    -------
    The cells of the UMAP, with coordinates in ``obsm["X_umap"]``; None: they are too few for a UMAP.

    Raises
    ------
    ValueError
        If `model` is not the model of the prediction.
    """
    if model is not None:
        check_model(model, cells.record)
    unseen = [] if cells.unseen_warning is None else [cells.unseen_warning]
    for sentence in unseen:
        warn_user(sentence)
    sample = normalised_sample(cells)
    profiles = (
        None if model is None else profiles_of(model, cells.gene_names, int(cells.record.get("n_shared_genes", 0)))
    )
    map_data, map_note = explorer(cells)
    pairs = confusion_table(cells, profiles)
    reference_markers = _reference_markers(cells, model, profiles)
    embedded = embedding(cells, sample)
    context = {
        "title": title or f"Cell types of {counted(cells.adata.n_obs, 'cell')}",
        "hrca_version": version("hrca"),
        "warnings": [*unseen, *(str(sentence) for sentence in np.atleast_1d(cells.record.get("warnings", [])))],
        "summary": summary(cells),
        "labels": label_table(cells, _label_counts(model)),
        "explorer": map_data,
        "explorer_note": map_note,
        "frequent_note": frequent_note(cells.labels),
        "sections": sections(cells, microns_per_unit),
        "umap": None if embedded is None else (umap_picture(cells, embedded[0]), embedded[1]),
        "novel": _novel_section(cells),
        "confusions": pairs,
        "min_cells": MIN_CELLS,
        "has_reference_genes": any("fraction" in pair for pair in pairs),
        "labels_are_known": cells.known_cells is not None,
        "decisions": decisions(cells),
        "card": [] if model is None else model_card(model),
        "has_reference_markers": reference_markers is not None,
        **_pictures(cells, model, reference_markers),
    }
    path.write_text(_render(context), encoding="utf-8")
    return None if embedded is None else embedded[0]


def _novel_section(cells: AnnotatedCells) -> dict[str, Any]:
    return {
        "estimated": cells.is_novel is not None and bool(cells.record.get("open_set", True)),
        "groups": novel_groups(cells),
        "rejected": cells.record.get("novelty_fpr") is not None,
        "unlabeled_category": cells.record.get("unlabeled_category", UNLABELED),
        "unlike": worst_explained_labels(cells),
        "unnoticed": unnoticed_sentence(cells),
    }


def check_has_coordinates(cells: AnnotatedCells, microns_per_unit: float | None) -> None:
    """Raise an error if a length of a unit is given for cells that have no coordinates.

    Raises
    ------
    ValueError
        If it is.
    """
    if microns_per_unit is not None and not has_coordinates(cells.adata):
        raise ValueError(
            f"`microns_per_unit` is the unit of coordinates, got {microns_per_unit}, but the cells have none. Add "
            "`adata.obsm['spatial']`, or leave it out."
        )


def checked_cells(
    adata: Any, path: Path, key: str, true_labels_key: str | None, sample_key: str | None
) -> AnnotatedCells:
    """Return the cells of the report, before any long work.

    Parameters
    ----------
    adata, path, true_labels_key, sample_key
        See :func:`report`.
    key
        Its `key_added`.

    Raises
    ------
    ValueError
        See :func:`report`.
    FileNotFoundError
        See :func:`report`.
    """
    table = table_of(adata, key)
    if table.n_obs == 0:
        raise ValueError("A report needs at least one cell, but the object has none.")
    for name, column in (("true_labels_key", true_labels_key), ("sample_key", sample_key)):
        if column is not None and column not in table.obs:
            raise ValueError(f"`{name}` must name a column of obs, got {column!r}; it has {list(table.obs)[:20]}.")
    counts_of(table, key)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of `path` must exist, but {str(path.parent)!r} does not. Create it first.")
    cells = AnnotatedCells(table, key, true_labels_key, sample_key)
    # raises an error if the model knows none of the known labels
    _ = cells.is_scored
    return cells


def _label_counts(model: HRCA | None) -> dict[str, int] | None:
    """Return the number of the reference's cells of each label; None if it is not known."""
    if model is None or model.label_counts_ is None:
        return None
    return dict(zip(model.labels, model.label_counts_, strict=True))


def _labels_with_markers(cells: AnnotatedCells) -> list[str]:
    """Return the labels with enough cells for a row in the picture of marker genes."""
    n_cells = cells.labels[~cells.labels.map(is_no_label)].value_counts()
    return list(n_cells.index[n_cells >= MIN_CELLS_PER_LABEL])


def _reference_markers(
    cells: AnnotatedCells, model: HRCA | None, profiles: LabelProfiles | None
) -> pd.DataFrame | None:
    """Return the marker genes of the reference, as the query spells them; None if the query has none of them."""
    if model is None or profiles is None:
        return None
    table = model.label_markers()
    spelling = {name.upper(): name for name in reversed(cells.gene_names)}
    table = table.assign(gene=table["gene"].str.upper().map(spelling)).dropna(subset="gene")
    # a prediction at a level of the hierarchy has labels that the table lacks
    table = table[table["label"].isin(_labels_with_markers(cells))]
    return None if table.empty else table


def _pictures(
    cells: AnnotatedCells, model: HRCA | None, reference_markers: pd.DataFrame | None
) -> dict[str, Picture | None]:
    """Return the pictures that depend on what the cells and the model have, or None in their place."""
    adata, key = cells.adata, cells.key
    frequent = frequent_groups(cells.labels)
    novelty, labels = cells.column("novelty"), cells.labels.to_numpy()
    found: dict[str, Picture | None] = dict.fromkeys(
        ("composition", "markers", "novelty", "sets", "confusion", "reliability", "training")
    )
    if cells.sample_key is not None:
        found["composition"] = picture(lambda: pl.composition(adata, cells.sample_key, key=key))
    if len(_labels_with_markers(cells)):
        found["markers"] = picture(lambda: pl.markers(adata, reference_markers, key=key))
    if novelty is not None and np.isfinite(novelty[frequent]).any():
        found["novelty"] = picture(lambda: pl.novelty(novelty[frequent], by=labels[frequent]))
    if f"{key}_set" in adata.obsm:
        sets = np.asarray(adata.obsm[f"{key}_set"], dtype=bool)
        found["sets"] = picture(lambda: pl.set_sizes(pd.DataFrame(sets[frequent]), by=labels[frequent]))
    if (known_cells := cells.known_cells) is not None:
        found["confusion"] = picture(lambda: pl.confusion(known_cells.true_labels, known_cells.predicted))
        if (confidence := known_cells.confidence) is not None:
            found["reliability"] = picture(
                lambda: pl.reliability(known_cells.true_labels, known_cells.predicted, confidence)
            )
    if model is not None and model.history:
        history = model.history
        found["training"] = picture(lambda: pl.training(history))
    return found


def _render(context: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # autoescape: labels, columns and genes come from the user's file
    environment = Environment(
        loader=PackageLoader("hrca.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(context)
