"""The pictures of a report, as PNG in text."""

import base64
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from PIL import Image

from hrca import pl
from hrca.pl._axes import root_figure
from hrca.pl._cells import has_coordinates

from ._cells import AnnotatedCells

logger = logging.getLogger(__name__)

# Pixels per inch: text of 7 points can be read.
DPI = 110

# Bytes above which a picture is stored with 256 colors, which takes a third.
MAX_TRUE_COLOR_BYTES = 400_000

# Bytes of a picture at most, so that the four large ones and all others stay below 10 MB as text, and the factor by
# which a larger one is shrunk until it is small enough.
MAX_BYTES, SHRINKING = 1_400_000, 0.85

# Samples that have a section of their own; the largest of them. Not tuned: 12 panels can still be read.
MAX_SAMPLES = 12

# Groups of cells that have a row in a picture: the most frequent ones.
MAX_ROWS = 60

# Neighbors of the UMAP's graph, as by default in scanpy, and principal components at most. Not tuned.
N_NEIGHBORS, N_COMPONENTS = 15, 30

# Fewer cells have no picture of neighbours. With one or two, principal components and umap-learn fail.
MIN_UMAP_CELLS = 10


@contextmanager
def _plain_style() -> Iterator[None]:
    """Draw in matplotlib's own style, and show no figure."""
    with plt.style.context("default"), plt.ioff():
        yield


class Picture(NamedTuple):
    """A picture in a page.

    Attributes
    ----------
    source
        Data URL of a PNG.
    width, height
        Size in pixels.
    """

    source: str
    width: int
    height: int


def picture(draw: Callable[[], Any]) -> Picture:
    """Return the picture that a function draws.

    Parameters
    ----------
    draw
        Draws on a new pyplot figure, and returns its axes, or a list of them.
    """
    with _plain_style():
        axes = draw()
        figure = root_figure(axes[0] if isinstance(axes, list) else axes)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight")
        plt.close(figure)
    image = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    if len(file.getvalue()) > MAX_TRUE_COLOR_BYTES:
        file = _with_few_colors(image)
        while len(file.getvalue()) > MAX_BYTES:
            image = image.resize((round(SHRINKING * image.width), round(SHRINKING * image.height)))
            file = _with_few_colors(image)
    return Picture(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", *image.size)


def _with_few_colors(image: Image.Image) -> io.BytesIO:
    file = io.BytesIO()
    # the default method loses colors of few pixels, such as those of a legend; MAXCOVERAGE takes minutes
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(file, format="png", optimize=True)
    return file


def sections(cells: AnnotatedCells, microns_per_unit: float | None) -> list[tuple[Picture, str]]:
    """Return pictures of the sections, each with a caption; none without coordinates.

    Parameters
    ----------
    cells
        The cells.
    microns_per_unit
        Length of one unit of the coordinates in micrometers; None: see :func:`hrca.pl.spatial`.
    """
    if not has_coordinates(cells.adata):
        return []
    adata, note = _largest_samples(cells)
    found = []
    for ending, caption in (
        (None, "Predicted label of each cell."),
        ("confidence", "Confidence: the probability that the label is correct."),
        ("novel_probability", "Probability that the cell is of none of the labels."),
    ):
        if ending is None or f"{cells.key}_{ending}" in adata.obs:

            def draw(ending: str | None = ending) -> Any:
                return pl.spatial(
                    adata, ending, key=cells.key, sample_key=cells.sample_key, microns_per_unit=microns_per_unit
                )

            found.append((picture(draw), caption + note))
    return found


def _largest_samples(cells: AnnotatedCells) -> tuple[AnnData, str]:
    """Return the cells of the largest samples, without their counts, and a sentence if others are left out."""
    obs = cells.adata.obs
    light = AnnData(obs=obs, obsm={name: cells.adata.obsm[name] for name in cells.adata.obsm if "spatial" in name})
    light.uns.update(cells.adata.uns)
    if cells.sample_key is None or obs[cells.sample_key].nunique() <= MAX_SAMPLES:
        return light, ""
    n_cells = obs[cells.sample_key].value_counts()
    largest = light[obs[cells.sample_key].isin(n_cells.index[:MAX_SAMPLES])].copy()
    return largest, f" The {MAX_SAMPLES} largest of the {(n_cells > 0).sum()} samples are drawn."


def embedding(cells: AnnotatedCells, sample: AnnData) -> tuple[AnnData, str] | None:
    """Return cells with a UMAP, and a caption; None if they have none and are too few for one.

    Parameters
    ----------
    cells
        The cells. Their ``obsm["X_umap"]`` is taken; without it, a UMAP of the sample is computed, from
        ``obsm["X_hrca"]`` if it is there, else from principal components.
    sample
        Sampled cells with normalised expression.
    """
    obs = cells.adata.obs[_umap_columns(cells)]
    uns = {name: value for name, value in cells.adata.uns.items() if name in (cells.key, f"{cells.key}_colors")}
    caption = "UMAP of the cells, from the object."
    if "X_umap" in cells.adata.obsm:
        drawn = AnnData(obs=obs, obsm={"X_umap": np.asarray(cells.adata.obsm["X_umap"])}, uns=uns)
    elif len(cells.sample_rows) < MIN_UMAP_CELLS:
        return None
    else:
        drawn = AnnData(obs=obs.iloc[cells.sample_rows], uns=uns)
        if "X_hrca" in cells.adata.obsm:
            drawn.obsm["X_rep"] = np.asarray(cells.adata.obsm["X_hrca"])[cells.sample_rows]
            source = "the latent features"
        else:
            drawn.obsm["X_rep"] = sc.pp.pca(
                sample.X, n_comps=min(N_COMPONENTS, *(np.array(sample.shape) - 1)), random_state=0
            )
            source = "principal components of the normalised counts"
        logger.info("UMAP of %s cells, which can take a minute.", f"{drawn.n_obs:,}")
        with warnings.catch_warnings():
            # umap-learn on the number of threads, on disconnected cells, and on few cells
            warnings.simplefilter("ignore")
            sc.pp.neighbors(drawn, n_neighbors=min(N_NEIGHBORS, drawn.n_obs - 1), use_rep="X_rep", random_state=0)
            sc.tl.umap(drawn, random_state=0)
        which = f"{drawn.n_obs:,} cells, drawn at random," if drawn.n_obs < len(obs) else "all cells,"
        caption = f"UMAP of {which} from {source}."
    return drawn, caption


def umap_picture(cells: AnnotatedCells, embedded: AnnData) -> Picture:
    """Return a picture of the UMAP of :func:`embedding`.

    Parameters
    ----------
    cells
        The cells.
    embedded
        Those of them that are drawn.
    """
    return picture(lambda: pl.umap(embedded, _umap_columns(cells), key=cells.key))


def _umap_columns(cells: AnnotatedCells) -> list[str]:
    names = (cells.key, f"{cells.key}_confidence", f"{cells.key}_novel_probability")
    return [name for name in names if name in cells.adata.obs]


def frequent_groups(labels: pd.Series) -> np.ndarray:
    """Return which cells have one of the most frequent labels, shape (n_obs,)."""
    return labels.isin(labels.value_counts().index[:MAX_ROWS]).to_numpy()


def frequent_note(labels: pd.Series) -> str:
    """Return a sentence if some labels are not among the most frequent ones, else an empty text."""
    n_labels = labels.nunique()
    return "" if n_labels <= MAX_ROWS else f" The {MAX_ROWS} most frequent of the {n_labels} labels are drawn."
