"""Leave-one-label-out benchmark of novelty: separation of a left-out cell type from the other types.

    python -m benchmarks.uncertainty.novelty --data DATA --models FOLDER [--datasets pbmc3k ...] [--seeds 1]
        [--genes 2000]

There is a model for each data set and each of its types with at least 30 cells. Half of the other types' cells train
HRCA (laptop size, ``train()`` with its defaults). The query, at several depths, is the other half of them and all cells
of the type. One more model of each data set knows all types. Its F1 says which types are separable at all. Its row
(``left_out`` is ``none``) gives the fraction of cells that is rejected when no type is novel. FOLDER keeps the models.

It writes ``benchmarks/results/uncertainty/novelty.csv``, a row for each type and depth:

- ``f1`` of the type, by the model that knows it;
- the AUROC of scores that separate the type's cells from the others: HRCA's ``novelty``, and those of
  :func:`baseline_scores`;
- the fractions of cells that ``predict(novelty_fpr=0.05)`` rejects: of the type (``rejected``), and of the other types
  (``false_rejection``).

The last row is ``pbmc_facs_zheng -> pbmc3k``, where the novel types are those of another data set. Rows in the file are
not measured again.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

import hrca
from benchmarks.common.data import drop_empty_cells, read_labelled, seeded_generator, thin
from benchmarks.common.expression import variable_genes
from benchmarks.common.results import RESULTS, Table

from .splits import thin_by_name

KEY = ("seed", "data", "left_out")
# Column of each data set with its types.
LABELS_KEYS = {"pbmc3k": "cell_type", "pbmc_facs_zheng": "label_harmonised", "starmap_mpfc": "cell_type"}
LABELS_KEY = "type"
ALL_TYPES = "none"
ACROSS = ("pbmc_facs_zheng -> pbmc3k", "all unseen")
MIN_TYPE_CELLS = 30
DEPTHS = (1.0, 0.2)
NOVELTY_FPR = 0.05
N_NEIGHBOURS = 10

# F1 of a type, by data set, depth and type, of the model that knows all types.
TypeF1 = dict[tuple[str, float, str], float]


@dataclass(frozen=True)
class ModelSpec:
    """One model: a data set, the type that its reference lacks, a seed, and the number of genes."""

    data: str
    left_out: str
    seed: int
    n_genes: int

    @property
    def folder(self) -> str:
        """The name of the model's folder."""
        return re.sub(r"\W+", "_", f"{self.data}-{self.left_out}-{self.seed}-{self.n_genes}")


def read(name: str, folder: Path) -> ad.AnnData:
    """Read the labelled cells of a data set, with their types in ``obs["type"]``."""
    adata = read_labelled(name, folder, LABELS_KEYS[name])
    adata.obs[LABELS_KEY] = adata.obs[LABELS_KEYS[name]]
    return adata


def model_specs(names: Iterable[str], folder: Path, seed: int, n_genes: int) -> Iterator[ModelSpec]:
    """Yield the models that know all types, and then one type of each data set in turn."""
    left_out = {}
    for name in names:
        counts = read(name, folder).obs[LABELS_KEY].value_counts()
        left_out[name] = [ALL_TYPES, *counts.index[counts >= MIN_TYPE_CELLS]]
    for turn in range(max(map(len, left_out.values()))):
        for name, types in left_out.items():
            if turn < len(types):
                yield ModelSpec(name, types[turn], seed, n_genes)


def split(spec: ModelSpec, folder: Path) -> tuple[ad.AnnData, ad.AnnData]:
    """Split a data set into reference and query, on the most variable genes of both, as on a panel chosen elsewhere."""
    adata = read(spec.data, folder)
    adata = adata[:, variable_genes(adata, spec.n_genes)].copy()
    order = seeded_generator(spec.seed, f"halves of {spec.data}").permutation(adata.n_obs)
    in_reference = np.zeros(adata.n_obs, dtype=bool)
    in_reference[order[: adata.n_obs // 2]] = True
    in_reference &= (adata.obs[LABELS_KEY] != spec.left_out).to_numpy()
    return drop_empty_cells(adata[in_reference]), adata[~in_reference].copy()


def load_or_train(spec: ModelSpec, reference: ad.AnnData, folder: Path) -> hrca.HRCA:
    """Load a model from its folder, or train and save it if the folder has none."""
    path = folder / spec.folder
    if (path / "model.json").exists():
        return hrca.HRCA.load(path, adata=reference)
    scvi.settings.seed = spec.seed
    hrca.HRCA.setup_anndata(reference, labels_key=LABELS_KEY)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    model.save(path)
    return model


def baseline_scores(model: hrca.HRCA, reference: ad.AnnData, query: ad.AnnData, depth: float) -> dict[str, np.ndarray]:
    """Score the novelty of cells in other ways than HRCA; higher scores are more novel.

    Parameters
    ----------
    model
        The trained model.
    reference
        The cells that it was trained on.
    query
        Cells to score.
    depth
        Fraction of their counts that the query cells kept; the training cells are thinned to the same fraction.

    Returns
    -------
    By name, shape (n_obs,): 1 minus the maximum probability; the entropy of the probabilities; the energy of the
    logits (Liu et al., NeurIPS 2020); and in the latent space the mean distance to the 10 nearest training cells, and
    the squared Mahalanobis distance to the mean of the nearest label (Lee et al., NeurIPS 2018).
    """
    probabilities = model.predict(query, soft=True, key_added=None).to_numpy(dtype=float).clip(1e-12, 1)
    if model.split_ is None:
        raise ValueError("`model` must be trained, but has no split into training and validation cells.")
    training = reference[model.split_.train].copy()
    thinned = thin(training, depth, seeded_generator(0, f"{depth:g} of a reference"))
    training_z, query_z = (model.get_latent_representation(adata) for adata in (thinned, query))
    nearest = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(training_z)
    codes = pd.Index(model.labels).get_indexer(training.obs[LABELS_KEY].to_numpy())
    means = np.stack([training_z[codes == code].mean(axis=0) for code in range(len(model.labels))])
    covariance, _ = ledoit_wolf(training_z - means[codes])
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    with torch.inference_mode():
        classifier: Any = model.module.se_classifier
        logits = classifier(torch.from_numpy(query_z)).numpy()
    return {
        "max_probability": 1 - probabilities.max(axis=1),
        "entropy": -(probabilities * np.log(probabilities)).sum(axis=1),
        "energy": -logsumexp(logits, axis=1),
        "neighbours": nearest.kneighbors(query_z)[0].mean(axis=1),
        "mahalanobis": (((query_z[:, None] - means) @ root) ** 2).sum(axis=2).min(axis=1),
    }


def measure(spec: ModelSpec, data: Path, models: Path, f1: TypeF1) -> Iterator[dict[str, Any]]:
    """Score one model at each depth; the model that knows all types adds to `f1`."""
    reference, query = split(spec, data)
    model = load_or_train(spec, reference, models)
    for depth in DEPTHS:
        thinned = thin_by_name(query, depth, spec.seed, spec.data)
        types = thinned.obs[LABELS_KEY].to_numpy()
        if spec.left_out == ALL_TYPES:
            by_type = f1_score(types, np.asarray(model.predict(thinned)), labels=model.labels, average=None)
            f1 |= {(spec.data, depth, label): score for label, score in zip(model.labels, by_type, strict=True)}
        f1_of_type = f1.get((spec.data, depth, spec.left_out))
        where = {"data": spec.data, "left_out": spec.left_out, "depth": depth}
        yield where | score(model, reference, thinned, depth, f1_of_type)


def score(model: hrca.HRCA, reference: ad.AnnData, query: ad.AnnData, depth: float, f1: float | None) -> dict[str, Any]:
    """Score the separation of a query's novel types, and the rejection of novel and of known types."""
    labels = np.asarray(model.predict(query, novelty_fpr=NOVELTY_FPR))
    is_novel = ~query.obs[LABELS_KEY].isin(model.labels).to_numpy()
    scores = {"novelty": query.obs["hrca_novelty"].to_numpy(), **baseline_scores(model, reference, query, depth)}
    is_rejected = labels == model.unlabeled_category
    return {
        "n_cells": int(is_novel.sum()),
        "f1": f1,
        **{name: roc_auc_score(is_novel, values) if is_novel.any() else np.nan for name, values in scores.items()},
        "false_rejection": is_rejected[~is_novel].mean(),
        "rejected": is_rejected[is_novel].mean() if is_novel.any() else np.nan,
    }


def measure_across(data: Path, models: Path, seed: int, n_genes: int) -> dict[str, Any]:
    """Score the types of ``pbmc3k`` that ``pbmc_facs_zheng`` lacks."""
    reference, query = (hrca.datasets.local(name, data) for name in ("pbmc_facs_zheng", "pbmc3k"))
    for adata in (reference, query):
        adata.obs[LABELS_KEY] = adata.obs["label_harmonised"].astype(str)
    reference = reference[reference.obs[LABELS_KEY] != "", reference.var_names.isin(query.var_names)].copy()
    genes = variable_genes(query[:, reference.var_names], n_genes)
    reference = drop_empty_cells(reference[:, genes])
    model = load_or_train(ModelSpec("pbmc_facs_zheng to pbmc3k", ALL_TYPES, seed, n_genes), reference, models)
    where = dict(zip(("data", "left_out"), ACROSS, strict=True))
    return where | {"depth": 1.0} | score(model, reference, query[:, reference.var_names].copy(), 1.0, None)


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--models", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--datasets", nargs="+", default=list(LABELS_KEYS), choices=list(LABELS_KEYS))
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--genes", type=int, default=2000, help="most variable genes to keep")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "novelty.csv", KEY)
    for seed in range(arguments.seeds):
        f1: TypeF1 = {}
        for spec in model_specs(arguments.datasets, arguments.data, seed, arguments.genes):
            is_missing = (str(seed), spec.data, spec.left_out) not in table.keys
            # the F1 of all types is not in the file, so that these models are scored again
            if spec.left_out == ALL_TYPES or is_missing:
                rows = [{"seed": seed, **row} for row in measure(spec, arguments.data, arguments.models, f1)]
                table.append(rows if is_missing else [])
        if (str(seed), *ACROSS) not in table.keys:
            row = measure_across(arguments.data, arguments.models, seed, arguments.genes)
            table.append([{"seed": seed, **row}])


if __name__ == "__main__":
    main()
