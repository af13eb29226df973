"""The demo: train on a reference, annotate a query, score and draw it."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.axes import Axes

from hrca import metrics, pl
from hrca._records import MIN_NOVEL_PROBABILITY
from hrca._warnings import HRCAWarning
from hrca.model._model import HRCA
from hrca.pl._cells import has_coordinates
from hrca.reporting import report
from hrca.train._random_states import set_seed

from ._demo_baselines import count_likelihood, logistic_regression
from ._demo_pairs import ReferenceQueryPair

logger = logging.getLogger(__name__)

# Epochs of the quick form, which only tests that everything runs.
QUICK_EPOCHS = {"pretrain_epochs": 10, "max_epochs": 18}


@dataclass(frozen=True)
class DemoResult:
    """What the demo has found and written.

    Attributes
    ----------
    pair
        Reference and annotated query.
    scores
        Accuracy and macro-F1 over the query's cells of types that the reference has: a row for each method.
    written
        The files.
    quick
        Whether the training was too short for scores.
    """

    pair: ReferenceQueryPair
    scores: pd.DataFrame
    written: list[Path]
    quick: bool

    @property
    def n_detected(self) -> pd.DataFrame:
        """Numbers of cells and of detected cells: True for the type that the reference lacks, False for the others."""
        query = self.pair.query
        is_left_out = pd.Series(~self.pair.is_known, query.obs_names)
        is_detected = query.obs["hrca_novel_probability"] >= MIN_NOVEL_PROBABILITY
        rows = {
            name: (cells.sum(), (cells & is_detected).sum())
            for name, cells in ((True, is_left_out), (False, ~is_left_out))
        }
        return pd.DataFrame(rows, index=["n_cells", "n_detected"]).T

    def text(self) -> str:
        """Return the result for a reader; the paths are its last lines."""
        reference, query, left_out = self.pair.reference, self.pair.query, self.pair.left_out
        detected = self.n_detected
        lines = [
            f"Reference: {reference.n_obs:,} cells x {reference.n_vars:,} genes, without any {left_out!r}. "
            f"Query: {query.n_obs:,} cells, {detected.loc[True, 'n_cells']} of them {left_out!r}, median "
            f"{np.median(np.asarray(query.X.sum(axis=1))):.0f} counts in a cell.",
            f"Detected as none of the reference's types: {detected.loc[True, 'n_detected']} of "
            f"{detected.loc[True, 'n_cells']} cells {left_out!r}, and {detected.loc[False, 'n_detected']} of the "
            f"{detected.loc[False, 'n_cells']:,} other cells.",
            "Labels of the other cells. They alone count here, in the title of confusion.png and in the report: no "
            f"label of the reference is right for {left_out!r}. Macro-F1 is the mean of the F1 score over the types.",
            self.scores.round(3).to_string(),
        ]
        if self.quick:
            lines.append("So few epochs only show that everything runs: these scores cannot be compared.")
        return "\n".join([*lines, "Written:", *(str(path) for path in self.written)])


def run(
    pair: ReferenceQueryPair,
    out_dir: str | Path,
    *,
    quick: bool = False,
    seed: int = 0,
    enable_progress_bar: bool = True,
) -> DemoResult:
    """Train a model of laptop size, annotate and score the query, and write files.

    Parameters
    ----------
    pair
        Reference and query; columns of HRCA are added to the query.
    out_dir
        Folder for ``annotated.h5ad``, ``umap.png``, ``confusion.png`` and, if the query has coordinates,
        ``section.png``.
    quick
        Whether to train for 10 + 18 epochs only.
    seed
        Seed of all random numbers, which stays set.
    enable_progress_bar
        Whether the progress of training and prediction is shown.

    Returns
    -------
    The scores of HRCA, logistic regression and the count likelihood, and the files.
    """
    out_dir = Path(out_dir).resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    set_seed(seed)
    logger.info("The reference lacks the type %r on purpose: HRCA should warn of its cells.", pair.left_out)
    HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
    model = HRCA(pair.reference, size="laptop")
    epochs: dict[str, Any] = QUICK_EPOCHS if quick else {}
    model.train(enable_progress_bar=enable_progress_bar, **epochs)
    model.predict(pair.query, enable_progress_bar=enable_progress_bar)
    true_labels = pair.query.obs[pair.labels_key].astype(str)
    predictions = {
        "HRCA": pair.query.obs["hrca"],
        "logistic regression": logistic_regression(pair),
        "count likelihood": count_likelihood(pair),
    }
    scores = {
        name: metrics.annotation_scores(true_labels[pair.is_known], np.asarray(predicted)[pair.is_known])
        for name, predicted in predictions.items()
    }
    pictures = write_pictures_and_report(model, pair, out_dir)
    pair.query.write_h5ad(out_dir / "annotated.h5ad")
    table = pd.DataFrame(scores).T[["accuracy", "macro_f1"]]
    return DemoResult(pair, table, [out_dir / "annotated.h5ad", *pictures], quick)


def write_pictures_and_report(model: HRCA, pair: ReferenceQueryPair, out_dir: Path) -> list[Path]:
    """Draw the annotated query: its UMAP, confusion matrix, and section if it has coordinates; and write its report.

    The UMAP and the section show the known and the predicted label, the confidence, and the novel probability, which is
    high for cells of the type that the reference lacks. The confusion matrix has the cells that are scored.

    Parameters
    ----------
    model
        The trained model.
    pair
        Reference and annotated query.
    out_dir
        Folder for the pictures and the report.

    Returns
    -------
    The files.
    """
    query = pair.query
    query.obsm["X_hrca"] = model.get_latent_representation(query)
    sc.pp.neighbors(query, use_rep="X_hrca")
    sc.tl.umap(query)
    columns = [pair.labels_key, "hrca", "confidence", "novel_probability"]
    written = {name: out_dir / f"{name}.png" for name in ("umap", "section", "confusion")}
    pl.umap(query, columns, save=written["umap"])
    if has_coordinates(query):
        # the coordinates of the MERFISH section are in micrometers
        pl.spatial(query, columns, microns_per_unit=1, save=written["section"])
    else:
        del written["section"]
    draw_confusion(pair, written["confusion"])
    plt.close("all")
    microns_per_unit = 1 if "section" in written else None
    with warnings.catch_warnings():
        # the result says which cells are not scored, and why
        warnings.filterwarnings("ignore", ".* labelled cells? (is|are) not scored", HRCAWarning)
        page = report(
            query,
            out_dir / "report.html",
            model=model,
            true_labels_key=pair.labels_key,
            microns_per_unit=microns_per_unit,
            title="The demo of HRCA",
        )
    return [*written.values(), page]


def draw_confusion(pair: ReferenceQueryPair, path: Path) -> Axes:
    """Draw the confusion matrix of the annotated query's cells that are scored.

    Parameters
    ----------
    pair
        Reference and annotated query.
    path
        The picture.
    """
    scored = pair.query.obs[pair.is_known]
    return pl.confusion(scored[pair.labels_key].astype(str), scored["hrca"].astype(str), save=path)
