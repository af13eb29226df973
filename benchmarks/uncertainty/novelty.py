"""Leave one type out: how well a score tells cells of a type that the reference lacks from the others.

    python benchmarks/novelty.py --data DATA [--sets pbmc3k ...] [--seeds 1] [--genes 2000] [--models FOLDER]

For each data set and each of its types with at least 30 cells: half of the other types' cells train HRCA (laptop size,
``train()`` as it is); the other half of them, and all cells of the type, are the query, at the depths below. One more
model knows all types: its F1 says which types the model tells apart at all, and its row (``none``) which share of the
cells is rejected where nothing is new. Models are kept in FOLDER, and what is in results/novelty.csv already is not run
again.

A row for each type and depth: ``f1`` of the type by the model that knows it; the AUROC, of the type's cells against the
others, of HRCA's novelty and of others' scores, without knowledge of the type: 1 less the highest probability
(``max_probability``), ``entropy``, ``energy`` of the logits, distance in the latent space to the 10 nearest training
cells (``neighbours``) or to the nearest label's mean (``mahalanobis``), the deviance as it is; and the share of cells
that ``predict(novelty_fpr=0.05)`` rejects, of the type and of the others. One more row is
``pbmc_facs_zheng -> pbmc3k``, where the unseen types are not held out but another data set's.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import grid
import numpy as np
import pandas as pd
import record
import scanpy as sc
import scvi
import torch
from scipy.special import logsumexp
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

import hrca

# Data set: the column with its types.
SETS = {"pbmc3k": "cell_type", "pbmc_facs_zheng": "label_harmonised", "starmap_mpfc": "cell_type"}
ALL_TYPES = "none"
MIN_DISTANCE_CELLS = 30
DEPTHS = (1.0, 0.2)
MAX_FALSE_REJECTION = 0.05
N_NEIGHBOURS = 10


@dataclass(frozen=True)
class Run:
    """One model: a data set, the type that its reference lacks, and a seed."""

    data: str
    left_out: str
    seed: int
    n_genes: int

    @property
    def name(self) -> str:
        """What its folder is called."""
        return re.sub(r"\W+", "_", f"{self.data}-{self.left_out}-{self.seed}-{self.n_genes}")


def read(name: str, data: Path) -> ad.AnnData:
    """Read the labelled cells of a data set, their types in ``obs["type"]``."""
    adata = hrca.datasets.local(name, data)
    adata.obs["type"] = adata.obs[SETS[name]].astype(str)
    return adata[adata.obs["type"] != ""].copy()


def runs(names: list[str], data: Path, seed: int, n_genes: int) -> Iterator[Run]:
    """Go through the models: those that know all types first, then a type of each data set in turn."""
    left_out = {}
    for name in names:
        counts = read(name, data).obs["type"].value_counts()
        left_out[name] = [ALL_TYPES, *counts.index[counts >= MIN_DISTANCE_CELLS]]
    for turn in range(max(map(len, left_out.values()))):
        for name in names:
            if turn < len(left_out[name]):
                yield Run(name, left_out[name][turn], seed, n_genes)


def split(run: Run, data: Path) -> tuple[ad.AnnData, ad.AnnData]:
    """Return reference and query of a run, on the genes that vary most in both: a panel is not the reference's."""
    adata = read(run.data, data)
    if run.n_genes < adata.n_vars:
        normalized = adata.copy()
        sc.pp.normalize_total(normalized, target_sum=1e4)
        sc.pp.log1p(normalized)
        sc.pp.highly_variable_genes(normalized, n_top_genes=run.n_genes)
        adata = adata[:, normalized.var["highly_variable"].to_numpy()].copy()
    order = grid.generator(run.seed, f"halves of {run.data}").permutation(adata.n_obs)
    in_reference = np.zeros(adata.n_obs, dtype=bool)
    in_reference[order[: adata.n_obs // 2]] = True
    in_reference &= (adata.obs["type"] != run.left_out).to_numpy()
    reference, query = adata[in_reference].copy(), adata[~in_reference].copy()
    return reference[grid.totals(reference) > 0].copy(), query


def trained(run: Run, reference: ad.AnnData, folder: Path) -> hrca.HRCA:
    """Train the model of a run, or load it if it is there."""
    path = folder / run.name
    if (path / "model.pt").exists():
        return hrca.HRCA.load(path, adata=reference)
    scvi.settings.seed = run.seed
    hrca.HRCA.setup_anndata(reference, labels_key="type")
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    model.save(path)
    return model


def others_scores(model: hrca.HRCA, reference: ad.AnnData, query: ad.AnnData, kept: float) -> dict[str, np.ndarray]:
    """Scores that HRCA does not use, higher for a stranger cell; training cells are thinned as the query is."""
    probabilities = model.predict(query, soft=True, key_added=None).to_numpy(dtype=float).clip(1e-12, 1)
    training = reference[model.split_["train"]].copy()
    thinned = grid.thin(training, kept, grid.generator(0, f"{kept:g} of a reference"))
    seen, asked = (model.get_latent_representation(adata) for adata in (thinned, query))
    nearest = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(seen)
    codes = training.obs["type"].to_numpy()
    means = np.stack([seen[codes == label].mean(axis=0) for label in model.labels])
    covariance, _ = ledoit_wolf(seen - means[pd.Index(model.labels).get_indexer(codes)])
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    with torch.inference_mode():
        logits = model.module.se_classifier(torch.from_numpy(asked)).numpy()
    return {
        "max_probability": 1 - probabilities.max(axis=1),
        "entropy": -(probabilities * np.log(probabilities)).sum(axis=1),
        "energy": -logsumexp(logits, axis=1),
        "neighbours": nearest.kneighbors(asked)[0].mean(axis=1),
        "mahalanobis": (((asked[:, None] - means) @ root) ** 2).sum(axis=2).min(axis=1),
    }


def measure(run: Run, data: Path, folder: Path, f1: dict) -> Iterator[dict]:
    """Score one model at each depth; the one that knows all types fills `f1`."""
    reference, query = split(run, data)
    model = trained(run, reference, folder)
    for depth in DEPTHS:
        thinned = grid.thin(query, depth, grid.generator(run.seed, f"{depth:g} of {run.data}"))
        thinned = thinned[grid.totals(thinned) > 0].copy()
        known = thinned.obs["type"].to_numpy()
        if run.left_out == ALL_TYPES:
            by_type = f1_score(known, np.asarray(model.predict(thinned)), labels=model.labels, average=None)
            f1 |= {(run.data, depth, label): score for label, score in zip(model.labels, by_type, strict=True)}
        yield score(run.data, run.left_out, depth, f1.get((run.data, depth, run.left_out)), model, reference, thinned)


def score(
    name: str, left_out: str, depth: float, f1: float | None, model: hrca.HRCA, reference: ad.AnnData, query: ad.AnnData
) -> dict:
    """Return the row of one query, whose cells of unseen types, if it has any, are to be found."""
    labels = np.asarray(model.predict(query, novelty_fpr=MAX_FALSE_REJECTION))
    strange = ~query.obs["type"].isin(model.labels).to_numpy()
    scores = {"novelty": query.obs["hrca_novelty"].to_numpy(), **others_scores(model, reference, query, depth)}
    rejected = labels == model.unlabeled_category
    return {
        "data": name,
        "left_out": left_out,
        "depth": depth,
        "n_cells": int(strange.sum()),
        "f1": f1,
        **{key: roc_auc_score(strange, value) if strange.any() else np.nan for key, value in scores.items()},
        "false_rejection": rejected[~strange].mean(),
        "rejected": rejected[strange].mean() if strange.any() else np.nan,
    }


def across(data: Path, folder: Path, seed: int, n_genes: int) -> dict:
    """Return the row of the types of pbmc3k that pbmc_facs_zheng lacks."""
    reference, query = (hrca.datasets.local(name, data) for name in ("pbmc_facs_zheng", "pbmc3k"))
    for adata in (reference, query):
        adata.obs["type"] = adata.obs["label_harmonised"].astype(str)
    reference = reference[reference.obs["type"] != "", reference.var_names.isin(query.var_names)].copy()
    normalized = query[:, reference.var_names].copy()
    sc.pp.normalize_total(normalized, target_sum=1e4)
    sc.pp.log1p(normalized)
    sc.pp.highly_variable_genes(normalized, n_top_genes=n_genes)
    reference = reference[:, normalized.var["highly_variable"].to_numpy()].copy()
    reference = reference[grid.totals(reference) > 0].copy()
    model = trained(Run("pbmc_facs_zheng to pbmc3k", ALL_TYPES, seed, n_genes), reference, folder)
    return score(
        "pbmc_facs_zheng -> pbmc3k", "all unseen", 1.0, None, model, reference, query[:, reference.var_names].copy()
    )


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--genes", type=int, default=2000, help="most variable genes to keep")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=record.HERE / "results")
    arguments = parser.parse_args()
    path = arguments.out / "novelty.csv"
    for seed in range(arguments.seeds):
        there = _done(path, seed)
        f1: dict = {}
        for run in runs(arguments.sets, arguments.data, seed, arguments.genes):
            is_there = (run.data, run.left_out) in there
            # what the others are told apart by is not in the file
            if run.left_out == ALL_TYPES or not is_there:
                rows = list(measure(run, arguments.data, arguments.models, f1))
                _append(path, seed, [] if is_there else rows)
        if ("pbmc_facs_zheng -> pbmc3k", "all unseen") not in there:
            _append(path, seed, [across(arguments.data, arguments.models, seed, arguments.genes)])


def _done(path: Path, seed: int) -> set[tuple[str, str]]:
    if not path.exists():
        return set()
    rows = pd.read_csv(path)
    return set(rows.loc[rows["seed"] == seed, ["data", "left_out"]].itertuples(index=False, name=None))


def _append(path: Path, seed: int, rows: list[dict]) -> None:
    if rows:
        table = pd.DataFrame([{"seed": seed, **row, **record.provenance()} for row in rows]).round(4)
        table.to_csv(path, mode="a", header=not path.exists(), index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
