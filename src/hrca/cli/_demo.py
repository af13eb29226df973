"""The demo: train on a reference, annotate a query, score and draw it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData

from hrca import datasets, metrics, pl
from hrca.model._model import HRCA
from hrca.module._profiles import class_profiles
from hrca.module._transforms import thin_sparse
from hrca.reporting import report
from hrca.train._random_states import set_seed

# The query is made of half of the cells, each thinned to 30 % of its counts: it is sparse, and its labels are known.
# With 30 % of the cells, the 20 B cells share a cluster with others, and are noticed with some seeds alone.
REFERENCE_FRACTION, QUERY_DEPTH_FRACTION = 0.5, 0.3

# The type that the reference lacks, to show that its cells are noticed. The query has about 40 such blood cells, or 650
# such cells of the preoptic area. Of four types of the blood cells, B cells and dendritic cells are noticed; monocytes
# resemble dendritic cells, and NK cells resemble cytotoxic T cells.
BLOOD_LEFT_OUT, POA_LEFT_OUT = "CD19+ B", "OD Mature"

# Files of the pair of the preoptic area.
POA_FILES = ("poa_scrna_moffitt", "poa_merfish_b0.06")

# A cell with at least this probability is noticed as one of none of the labels.
NOTICED = 0.5

# Epochs of the quick form, which only tests that everything runs.
QUICK_EPOCHS = {"pretrain_epochs": 10, "max_epochs": 18}


@dataclass(frozen=True)
class ReferenceQueryPair:
    """A labelled reference, and a query whose labels are known.

    Attributes
    ----------
    reference
        Reference cells with raw counts in X, shape (n_obs, n_genes).
    query
        Query cells with raw counts in X, shape (n_obs, n_genes of their own).
    labels_key
        Column of both obs with the labels.
    left_out
        A type of the query that the reference lacks.
    """

    reference: AnnData
    query: AnnData
    labels_key: str
    left_out: str


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
    def noticed(self) -> pd.DataFrame:
        """Numbers of cells and of noticed cells: True for the type that the reference lacks, False for the others."""
        query = self.pair.query
        is_left_out = query.obs[self.pair.labels_key] == self.pair.left_out
        is_noticed = query.obs["hrca_novel_probability"] >= NOTICED
        rows = {
            name: (cells.sum(), (cells & is_noticed).sum())
            for name, cells in ((True, is_left_out), (False, ~is_left_out))
        }
        return pd.DataFrame(rows, index=["n_cells", "n_noticed"]).T

    def text(self) -> str:
        """Return the result for a reader; the paths are its last lines."""
        reference, query, left_out = self.pair.reference, self.pair.query, self.pair.left_out
        noticed = self.noticed
        lines = [
            f"Reference: {reference.n_obs:,} cells x {reference.n_vars} genes, without any {left_out!r}. "
            f"Query: {query.n_obs:,} cells, {noticed.loc[True, 'n_cells']} of them {left_out!r}, median "
            f"{np.median(np.asarray(query.X.sum(axis=1))):.0f} counts in a cell.",
            f"Noticed as none of the reference's types: {noticed.loc[True, 'n_noticed']} of "
            f"{noticed.loc[True, 'n_cells']} cells {left_out!r}, and {noticed.loc[False, 'n_noticed']} of the "
            f"{noticed.loc[False, 'n_cells']:,} other cells.",
            "Labels of the other cells:",
            self.scores.round(3).to_string(),
        ]
        if self.quick:
            lines.append("So few epochs only show that everything runs: these scores cannot be compared.")
        return "\n".join([*lines, "Written:", *(str(path) for path in self.written)])


def pbmc68k_pair(seed: int = 0) -> ReferenceQueryPair:
    """Split the blood cells of :func:`hrca.datasets.pbmc68k` into a reference and a thinned query.

    Parameters
    ----------
    seed
        Seed of the split and of the thinning.

    Returns
    -------
    About 300 reference cells without B cells, and 350 query cells with 30 % of their counts.

    Examples
    --------
    >>> pair = pbmc68k_pair()
    >>> pair.reference.n_obs, pair.query.n_obs
    (296, 350)
    """
    adata = datasets.pbmc68k()
    rng = np.random.default_rng(seed)
    order = rng.permutation(adata.n_obs)
    n_reference = round(REFERENCE_FRACTION * adata.n_obs)
    reference, query = adata[order[:n_reference]].copy(), adata[order[n_reference:]].copy()
    query.X = thin_sparse(query.X, QUERY_DEPTH_FRACTION, rng)
    query.X.eliminate_zeros()
    return _without(ReferenceQueryPair(reference, query, "bulk_labels", BLOOD_LEFT_OUT))


def poa_pair(folder: str | Path, left_out: str = POA_LEFT_OUT) -> ReferenceQueryPair:
    """Read single cells and a MERFISH section of the mouse preoptic area :cite:p:`moffitt2018molecular`.

    Parameters
    ----------
    folder
        Folder with ``poa_scrna_moffitt.h5ad`` and ``poa_merfish_b0.06.h5ad``, each with ``obs["label_harmonised"]``.
        Cells whose label is an empty string are left out.
    left_out
        The type that is left out of the reference; "": none.

    Returns
    -------
    Single cells of other types as the reference, and the section as the query.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    """
    missing = [name for name in POA_FILES if not (Path(folder) / f"{name}.h5ad").is_file()]
    if missing:
        raise FileNotFoundError(
            f"`data` must be a folder with the files {' and '.join(f'{name}.h5ad' for name in POA_FILES)}, but "
            f"{str(folder)!r} lacks {' and '.join(f'{name}.h5ad' for name in missing)}."
        )
    samples = [datasets.local(name, folder) for name in POA_FILES]
    reference, query = (adata[adata.obs["label_harmonised"] != ""].copy() for adata in samples)
    return _without(ReferenceQueryPair(reference, query, "label_harmonised", left_out))


def _without(pair: ReferenceQueryPair) -> ReferenceQueryPair:
    """Remove a type from the reference."""
    is_kept = pair.reference.obs[pair.labels_key] != pair.left_out
    return replace(pair, reference=pair.reference[is_kept].copy())


def logistic_regression(pair: ReferenceQueryPair) -> np.ndarray:
    """Label the query by logistic regression on log1p(counts per 10,000) of the shared genes.

    Cross-validation within the reference selects the penalty, and whether the genes are scaled.

    Parameters
    ----------
    pair
        Reference and query.

    Returns
    -------
    Predicted labels, shape (n_obs of the query,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    genes = _shared_genes(pair)
    normalized = [adata[:, genes].copy() for adata in (pair.reference, pair.query)]
    for adata in normalized:
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    steps = [("scale", StandardScaler(with_mean=False)), ("classify", LogisticRegression(max_iter=1000))]
    choices = {"scale": [StandardScaler(with_mean=False), "passthrough"], "classify__C": [0.01, 0.1, 1.0]}
    search = GridSearchCV(Pipeline(steps), choices, cv=3, scoring="f1_macro")
    reference, query = normalized
    return search.fit(reference.X, reference.obs[pair.labels_key].astype(str)).predict(query.X)


def count_likelihood(pair: ReferenceQueryPair) -> np.ndarray:
    """Label the query by the multinomial likelihood of its counts under the mean profile of each label.

    Parameters
    ----------
    pair
        Reference and query.

    Returns
    -------
    Predicted labels, shape (n_obs of the query,).
    """
    genes = _shared_genes(pair)
    codes, labels = pd.factorize(pair.reference.obs[pair.labels_key].astype(str), sort=True)
    profiles = class_profiles(pair.reference[:, genes].X, codes, len(labels))
    return np.asarray(labels)[np.asarray(pair.query[:, genes].X @ np.log(profiles).T).argmax(axis=1)]


def _shared_genes(pair: ReferenceQueryPair) -> pd.Index:
    return pair.reference.var_names[pair.reference.var_names.isin(pair.query.var_names)]


def run(pair: ReferenceQueryPair, out_dir: str | Path, *, quick: bool = False, seed: int = 0) -> DemoResult:
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

    Returns
    -------
    The scores of HRCA, logistic regression and the count likelihood, and the files.
    """
    out_dir = Path(out_dir).resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    set_seed(seed)
    HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
    model = HRCA(pair.reference, size="laptop")
    epochs: dict[str, Any] = QUICK_EPOCHS if quick else {}
    model.train(**epochs)
    model.predict(pair.query)
    true_labels = pair.query.obs[pair.labels_key].astype(str)
    predictions = {
        "HRCA": pair.query.obs["hrca"],
        "logistic regression": logistic_regression(pair),
        "count likelihood": count_likelihood(pair),
    }
    is_known = (true_labels != pair.left_out).to_numpy()
    scores = {
        name: metrics.annotation_scores(true_labels[is_known], np.asarray(predicted)[is_known])
        for name, predicted in predictions.items()
    }
    pictures = draw(model, pair, out_dir)
    pair.query.write_h5ad(out_dir / "annotated.h5ad")
    table = pd.DataFrame(scores).T[["accuracy", "macro_f1"]]
    return DemoResult(pair, table, [out_dir / "annotated.h5ad", *pictures], quick)


def draw(model: HRCA, pair: ReferenceQueryPair, out_dir: Path) -> list[Path]:
    """Draw the annotated query: UMAP of the latent features, confusion matrix, and the section if it has coordinates.

    Parameters
    ----------
    model
        The trained model.
    pair
        Reference and annotated query.
    out_dir
        Folder for the figures.

    Returns
    -------
    The files.
    """
    query = pair.query
    query.obsm["X_hrca"] = model.get_latent_representation(query)
    sc.pp.neighbors(query, use_rep="X_hrca")
    sc.tl.umap(query)
    columns = [pair.labels_key, "hrca", "confidence"]
    written = {name: out_dir / f"{name}.png" for name in ("umap", "section", "confusion")}
    pl.umap(query, columns, save=written["umap"])
    if "spatial" in query.obsm:
        # the coordinates of the MERFISH section are in micrometers
        pl.spatial(query, columns, microns_per_unit=1, save=written["section"])
    else:
        del written["section"]
    pl.confusion(query.obs[pair.labels_key].astype(str), query.obs["hrca"].astype(str), save=written["confusion"])
    plt.close("all")
    microns_per_unit = 1 if "section" in written else None
    page = report(
        query,
        out_dir / "report.html",
        model=model,
        true_labels_key=pair.labels_key,
        microns_per_unit=microns_per_unit,
        title="The demo of HRCA",
    )
    return [*written.values(), page]
