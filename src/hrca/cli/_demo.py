"""The main job from end to end on real cells, as ``hrca demo`` runs it: train, adapt, annotate, score, draw."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
from anndata import AnnData
from matplotlib.figure import Figure

from hrca import datasets, metrics, pl
from hrca.model._model import HRCA
from hrca.module._presets import SIZES
from hrca.module._profiles import class_profiles

# 70 % of the cells at full depth against the others at 30 % of their counts: a sparse query of known answer.
REFERENCE_FRACTION = 0.7

QUERY_DEPTH = 0.3

# Pixels an inch of the pictures, enough to read the smallest label.
DPI = 150

# The quick form shows that everything runs, no more.
QUICK = {"pretrain_epochs": 10, "max_epochs": 18}

# Area of a cell in the pictures, in points^2, at which a section of 5,000 cells shows each of them; that of fewer cells
# is larger in proportion, up to one at which 200 do not hide each other.
POINT_SIZE, LARGEST_POINT, REFERENCE_N_CELLS = 8, 40, 5000

# Inches of the three panels, the legend among them.
SIZE_INCHES = (17, 4.5)


@dataclass(frozen=True)
class ReferenceQueryPair:
    """A labelled reference, a query whose labels are known too, and the column that holds both.

    Attributes
    ----------
    reference
        Raw counts in X.
    query
        Raw counts in X.
    labels_key
        Column of either obs with the labels.
    """

    reference: AnnData
    query: AnnData
    labels_key: str


def pbmc68k_pair(seed: int = 0) -> ReferenceQueryPair:
    """Split the 700 blood cells of :func:`hrca.datasets.pbmc68k`: 70 % are the reference, the others a thinned query.

    Parameters
    ----------
    seed
        Seed of the split and of the thinning.

    Examples
    --------
    >>> pair = blood()
    >>> pair.reference.n_obs, pair.query.n_obs
    (490, 210)
    """
    adata = datasets.pbmc68k()
    rng = np.random.default_rng(seed)
    order = rng.permutation(adata.n_obs)
    n_reference = round(REFERENCE_FRACTION * adata.n_obs)
    reference, query = adata[order[:n_reference]].copy(), adata[order[n_reference:]].copy()
    query.X.data = rng.binomial(query.X.data.astype(int), QUERY_DEPTH).astype(np.float32)
    query.X.eliminate_zeros()
    return ReferenceQueryPair(reference, query, "bulk_labels")


def poa_pair(folder: str | Path) -> ReferenceQueryPair:
    """Read single cells and a MERFISH section of the mouse preoptic area (Moffitt et al., Science 2018).

    Parameters
    ----------
    folder
        Has ``poa_scrna_moffitt.h5ad`` and ``poa_merfish_b0.06.h5ad``, with ``obs["label_harmonised"]``, where an empty
        string leaves a cell out.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    """
    cells = [datasets.local(name, folder) for name in ("poa_scrna_moffitt", "poa_merfish_b0.06")]
    reference, query = (adata[adata.obs["label_harmonised"] != ""].copy() for adata in cells)
    return ReferenceQueryPair(reference, query, "label_harmonised")


def logistic_regression(pair: ReferenceQueryPair) -> np.ndarray:
    """Label the query by the plain baseline: logistic regression on log1p(counts per 10,000) of the shared genes.

    Penalty and scaling are chosen by cross-validation within the reference.

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

    genes = pair.reference.var_names[pair.reference.var_names.isin(pair.query.var_names)]
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
    """Label the query by the oldest baseline: the multinomial likelihood of its counts under each label's profile.

    Parameters
    ----------
    pair
        Reference and query.

    Returns
    -------
    Predicted labels, shape (n_obs of the query,).
    """
    genes = pair.reference.var_names[pair.reference.var_names.isin(pair.query.var_names)]
    codes, labels = pd.factorize(pair.reference.obs[pair.labels_key].astype(str), sort=True)
    profiles = class_profiles(pair.reference[:, genes].X, codes, len(labels))
    return np.asarray(labels)[np.asarray(pair.query[:, genes].X @ np.log(profiles).T).argmax(axis=1)]


def run(pair: ReferenceQueryPair, out_dir: str | Path, *, quick: bool = False, seed: int = 0) -> pd.DataFrame:
    """Train a laptop-size model, adapt it to the query, annotate, score beside two baselines, and write files.

    Parameters
    ----------
    pair
        Reference and query; the query gets HRCA's columns.
    out_dir
        Folder for ``annotated.h5ad``, ``umap.png``, ``confusion.png`` and, of a query with coordinates,
        ``section.png``.
    quick
        Train 10 + 18 epochs only.
    seed
        scvi's seed; stays set.

    Returns
    -------
    Accuracy and macro-F1, a row for HRCA, one for logistic regression and one for the count likelihood.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    scvi.settings.seed = seed
    HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
    model = HRCA(pair.reference, **SIZES["laptop"])
    model.train(**(QUICK if quick else {}))
    model = model.adapt(pair.query)
    model.predict(pair.query)
    known = pair.query.obs[pair.labels_key].astype(str)
    predictions = {
        "HRCA": pair.query.obs["hrca"],
        "logistic regression": logistic_regression(pair),
        "count likelihood": count_likelihood(pair),
    }
    scores = {name: metrics.annotation_scores(known, predicted) for name, predicted in predictions.items()}
    draw(model, pair, out_dir)
    pair.query.write_h5ad(out_dir / "annotated.h5ad")
    return pd.DataFrame(scores).T[["accuracy", "macro_f1"]]


def draw(model: HRCA, pair: ReferenceQueryPair, out_dir: Path) -> None:
    """Draw the annotated query: UMAP of the latent space, confusion matrix, and the section if there are coordinates.

    Parameters
    ----------
    model
        The trained model.
    pair
        Its query has been annotated.
    out_dir
        Folder for the pictures.
    """
    query = pair.query
    query.obsm["X_hrca"] = model.get_latent_representation(query)
    sc.pp.neighbors(query, use_rep="X_hrca")
    sc.tl.umap(query)
    _save(_cells(query, "umap", pair.labels_key), out_dir / "umap.png")
    if "spatial" in query.obsm:
        _save(_cells(query, "spatial", pair.labels_key), out_dir / "section.png")
    confusion = pl.confusion_figure(query.obs[pair.labels_key].astype(str), query.obs["hrca"].astype(str))
    _save(confusion, out_dir / "confusion.png")


def _cells(query: AnnData, basis: str, labels_key: str) -> Figure:
    known, predicted = query.obs[labels_key].astype(str), query.obs["hrca"].astype(str)
    # both in the same colors: scanpy would choose for each column anew
    labels = sorted(set(known) | set(predicted))
    twenty, many = sc.pl.palettes.default_20, sc.pl.palettes.default_102
    palette = dict(zip(labels, twenty if len(labels) <= len(twenty) else many, strict=False))
    palette |= {label: "lightgray" for label in labels if label == query.obs["hrca"].cat.categories[-1]}
    places = {name: query.obsm[name] for name in (basis, f"X_{basis}") if name in query.obsm}
    shown = AnnData(obs=query.obs[[]], obsm=places)
    shown.obs["known label"] = pd.Categorical(known, categories=labels)
    shown.obs["HRCA's label"] = pd.Categorical(predicted, categories=labels)
    shown.obs["confidence"] = query.obs["hrca_confidence"].to_numpy()
    size = min(LARGEST_POINT, POINT_SIZE * REFERENCE_N_CELLS / query.n_obs)
    figure, axes = plt.subplots(1, 3, figsize=SIZE_INCHES, layout="constrained")
    for ax, column, legend in zip(axes, shown.obs, (None, "right margin", None), strict=True):
        how = {"palette": palette} if column != "confidence" else {}
        sc.pl.embedding(shown, basis, color=column, size=size, legend_loc=legend, ax=ax, show=False, **how)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
