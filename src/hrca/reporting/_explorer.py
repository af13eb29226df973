"""The section that can be touched: places, labels and scores, in a form that a browser reads fast."""

import base64
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colors as mcolors

from hrca.pl._cells import coordinates, has_coordinates, with_categories
from hrca.pl._palette import label_colors, numeric_colormap

from ._cells import AnnotatedCells

# Cells in the file; others are left out at random. Each takes up to eight bytes, a third more as text.
MAX_CELLS = 60_000

# Places are whole numbers up to this one: a thousandth of a pixel on any screen.
MAX_PLACE = 65_535

# The shorter side of a section is drawn as at least this fraction of the longer one: cells may lie on a line.
MIN_SIDE = 0.01


# Maximum number of labels and of samples: their codes have 8 bits.
MAX_CODES = 255

# A missing score in percent, in 8 bits.
MISSING_PERCENT = 255

# Numbers by which the map can be colored, by the ending of their column.
NUMBERS = {"confidence": "confidence", "novel_probability": "novel probability"}


def explorer(cells: AnnotatedCells) -> tuple[dict[str, Any] | None, str]:
    """Return the data of the section, None without coordinates; and which cells it leaves out.

    Parameters
    ----------
    cells
        The cells.

    Returns
    -------
    ``names``, ``colors`` and ``counts`` of the labels; ``samples``; ``sides``, width and height of each sample;
    ``max_place``; in base64 ``x`` and ``y`` (16 bits), ``label`` and ``sample`` (8 bits); and ``numbers``: of
    confidence and novel probability, where the prediction has them, ``name``, ``shades`` from 0 to 100 percent, and
    ``percent`` of each cell (8 bits, 255 for a missing one).
    Then a sentence for each kind of cells that the map leaves out.
    """
    if not has_coordinates(cells.adata):
        return None, ""
    xy = coordinates(cells.adata, "spatial")
    table = with_categories(AnnData(obs=cells.adata.obs, uns=dict(cells.adata.uns)), cells.key)
    labels = table.obs[cells.key].cat.remove_unused_categories()
    names = list(labels.cat.categories)
    if len(names) > MAX_CODES:
        return None, f"There is no map to explore, because the cells have {len(names)} labels: more than {MAX_CODES}."
    sample_codes, samples, n_samples = _samples(cells)
    usable = np.flatnonzero(np.isfinite(xy).all(axis=1) & labels.notna().to_numpy() & (sample_codes >= 0))
    rows = np.random.default_rng(0).permutation(usable)[:MAX_CELLS]
    if not len(rows):
        return None, ""
    notes = []
    if len(samples) < n_samples:
        notes.append(f"This map has the {len(samples)} largest of the {n_samples} samples.")
    if len(rows) < len(usable):
        notes.append(f"This map has {len(rows):,} cells, drawn at random.")
    places, sides = _places(xy[rows], sample_codes[rows], len(samples))
    colors = label_colors(table, [cells.key])
    data = {
        "names": names,
        "colors": [mcolors.to_hex(colors[name]) for name in names],
        "counts": [int(n) for n in labels.value_counts().reindex(names)],
        "samples": samples,
        "sides": sides,
        "max_place": MAX_PLACE,
        "x": _text(places[:, 0].astype("<u2")),
        "y": _text(places[:, 1].astype("<u2")),
        "label": _text(labels.cat.codes.to_numpy()[rows].astype(np.uint8)),
        "sample": _text(sample_codes[rows].astype(np.uint8)),
        "numbers": _numbers(cells, rows),
    }
    return data, " ".join(notes)


def _numbers(cells: AnnotatedCells, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return the numbers of some cells, in percent, and their colors."""
    found = []
    for ending, name in NUMBERS.items():
        values = cells.column(ending)
        if values is not None and np.isfinite(values[rows]).any():
            percent = np.nan_to_num(np.round(100 * values[rows]), nan=MISSING_PERCENT)
            colors = numeric_colormap(f"{cells.key}_{ending}")(np.linspace(0, 1, 101))
            found.append(
                {"name": name, "percent": _text(percent.astype(np.uint8)), "shades": list(map(mcolors.to_hex, colors))}
            )
    return found


def _places(xy: np.ndarray, sample_codes: np.ndarray, n_samples: int) -> tuple[np.ndarray, list[list[float]]]:
    """Return the places as whole numbers, in one scale for both axes of a sample, and the sides of each sample."""
    places = np.zeros(xy.shape, dtype=np.uint16)
    sides = [[1.0, 1.0] for _ in range(n_samples)]
    for code in np.unique(sample_codes):
        members = sample_codes == code
        low, side = xy[members].min(axis=0), np.ptp(xy[members], axis=0)
        longest = max(side.max(), np.finfo(float).tiny)
        places[members] = np.round((xy[members] - low) / longest * MAX_PLACE)
        sides[code] = [float(value) for value in np.maximum(side / longest, MIN_SIDE)]
    return places, sides


def _samples(cells: AnnotatedCells) -> tuple[np.ndarray, list[str], int]:
    """Return the code of each cell's sample, -1 for one that is left out; the names; and the number of all samples."""
    if cells.sample_key is None:
        return np.zeros(cells.adata.n_obs, dtype=int), ["all"], 1
    values = cells.adata.obs[cells.sample_key].astype(str)
    n_cells = values.value_counts()
    names = sorted(n_cells.index[:MAX_CODES])
    return pd.Index(names).get_indexer(values), names, len(n_cells)


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
