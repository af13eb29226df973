"""The pictures look as they did: compared with stored ones, without text, because fonts differ between machines."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from hrca.pl import composition, confusion, novelty, reliability, set_sizes, spatial

BASELINE = Path(__file__).parent / "baseline"

# Root mean square of the differences of pixels, of 255. Other versions of matplotlib and freetype shift lines by a
# fraction of a pixel, which makes about 3; two labels with exchanged colors make more than 20.
TOLERANCE = 8

N_CELLS = 400
RNG = np.random.default_rng(0)
PLACES = RNG.random((N_CELLS, 2)) * [300, 200]
LABELS = np.where(PLACES[:, 0] < 100, "left", np.where(PLACES[:, 1] < 60, "corner", "right"))
PREDICTED = np.where(RNG.random(N_CELLS) < 0.8, LABELS, "left")
CONFIDENCE = np.clip(RNG.beta(5, 2, N_CELLS), 0, 1)


def annotated(labels=PREDICTED) -> ad.AnnData:
    obs = pd.DataFrame(
        {"hrca": pd.Categorical(labels, ["corner", "left", "right"]), "hrca_confidence": CONFIDENCE, "sample": LABELS},
        index=[str(i) for i in range(N_CELLS)],
    )
    return ad.AnnData(obs=obs, obsm={"spatial": PLACES})


SETS = pd.DataFrame(RNG.random((N_CELLS, 4)) < 0.4)

PICTURES = {
    "spatial": lambda ax: spatial(annotated(), microns_per_unit=1, ax=ax),
    "confidence": lambda ax: spatial(annotated(), "confidence", ax=ax),
    "composition": lambda ax: composition(annotated(), "sample", ax=ax),
    "confusion": lambda ax: confusion(LABELS, PREDICTED, ax=ax),
    "reliability": lambda ax: reliability(LABELS, PREDICTED, CONFIDENCE, by=LABELS, ax=ax),
    "novelty": lambda ax: novelty(CONFIDENCE, by=LABELS, ax=ax),
    "set_sizes": lambda ax: set_sizes(SETS, by=LABELS, ax=ax),
}


def draw(picture, path: Path) -> Path:
    """Draw a picture without its text and ticks into a file."""
    figure = Figure(figsize=(4, 3))
    picture(figure.add_axes((0.1, 0.1, 0.6, 0.8)))
    for ax in figure.findobj(Axes):
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="", title="")
        for text in ax.texts:
            text.set_text("")
        for artist in (*ax.artists, ax.get_legend()):
            if artist is not None:
                artist.remove()
    figure.savefig(path, dpi=50)
    return path


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_looks_as_it_did(name, tmp_path):
    """If a picture is meant to change: delete its file, run this test, and look at the file that it wrote."""
    expected = BASELINE / f"{name}.png"
    if not expected.exists():
        draw(PICTURES[name], expected)
        pytest.fail(f"{expected} was missing and is written: look at it.")
    drawn = draw(PICTURES[name], tmp_path / f"{name}.png")
    assert compare_images(str(expected), str(drawn), TOLERANCE) is None


def test_the_tolerance_finds_exchanged_labels(tmp_path):
    exchanged = np.where(PREDICTED == "left", "right", np.where(PREDICTED == "right", "left", PREDICTED))
    one = draw(PICTURES["spatial"], tmp_path / "one.png")
    two = draw(lambda ax: spatial(annotated(exchanged), ax=ax), tmp_path / "two.png")
    assert compare_images(str(one), str(two), TOLERANCE, in_decorator=True)["rms"] > 2 * TOLERANCE
