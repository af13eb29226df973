"""Spatial smoothing of labels, and majority votes in clusters.

    python -m benchmarks.spatial.smoothing --data DATA [--seeds 1]

HRCA (laptop size, ``train()`` with its defaults) labels ``poa_scrna_moffitt -> poa_merfish_b0.06``, and each section of
``starmap_mpfc`` from the other two. Then ``hrca.tl.smooth`` smooths over the 6 nearest cells of the section, and
``hrca.tl.majority_vote`` votes in Leiden over-clusters of the latent space.

It writes ``benchmarks/results/spatial/smoothing.csv``, a row for each pair and column of labels: accuracy, macro-F1,
and the minimum change of recall over all cell types and over types with less than 2 % of the cells. Pairs and seeds in
the file are not measured again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
from sklearn.metrics import recall_score
from sklearn.neighbors import kneighbors_graph

import hrca
from benchmarks.common.data import PAIRS, PairSpec, read_pair
from benchmarks.common.results import RESULTS, Table
from hrca import metrics, tl

KEY = ("pair", "seed")
SPATIAL_PAIRS = [pair for pair in PAIRS if pair.is_spatial and pair.reference != "starmap_v1"]
N_NEIGHBOURS = 6
MAX_RARE_FRACTION = 0.02


def label(spec: PairSpec, folder: Path, seed: int) -> ad.AnnData:
    """Train on a pair, and return its query with the columns ``hrca``, ``hrca_smooth`` and ``hrca_majority``."""
    pair = read_pair(spec, folder)
    reference, query = pair.reference.copy(), pair.query.copy()
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=pair.labels_key)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    model.predict(query)
    query.obsp["spatial_connectivities"] = kneighbors_graph(query.obsm["spatial"], N_NEIGHBOURS)
    tl.smooth(query)
    query.obsm["latent"] = model.get_latent_representation(query)
    sc.pp.neighbors(query, use_rep="latent", random_state=seed)
    tl.majority_vote(query, seed=seed)
    return query


def score(query: ad.AnnData, labels_key: str) -> Iterator[dict[str, Any]]:
    """Score each column of labels; changes of recall are relative to the labels before smoothing."""
    true_labels = query.obs[labels_key].to_numpy().astype(str)
    fractions = pd.Series(true_labels).value_counts(normalize=True)
    is_rare = fractions < MAX_RARE_FRACTION
    baseline_recall = _recall(query, "hrca", true_labels, fractions.index)
    for column in ("hrca", "hrca_smooth", "hrca_majority"):
        change = _recall(query, column, true_labels, fractions.index) - baseline_recall
        yield {
            "column": column,
            **metrics.annotation_scores(true_labels, _labels(query, column))[["accuracy", "macro_f1"]],
            "n_rare": int(is_rare.sum()),
            "rare_recall_change": change[is_rare].min() if is_rare.any() else np.nan,
            "worst_recall_change": change.min(),
        }


def _labels(query: ad.AnnData, column: str) -> np.ndarray:
    return query.obs[column].to_numpy().astype(str)


def _recall(query: ad.AnnData, column: str, true_labels: np.ndarray, labels: pd.Index) -> pd.Series:
    recall = recall_score(true_labels, _labels(query, column), labels=labels, average=None)
    return pd.Series(recall, labels)


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--out", type=Path, default=RESULTS / "spatial", help="folder of the results")
    arguments = parser.parse_args()
    table = Table(arguments.out / "smoothing.csv", KEY)
    for seed in range(arguments.seeds):
        for pair in SPATIAL_PAIRS:
            if (pair.name, str(seed)) not in table.keys:
                query = label(pair, arguments.data, seed)
                rows = [{"pair": pair.name, "seed": seed, **row} for row in score(query, pair.labels_key)]
                table.append(rows)
                print(pd.DataFrame(rows).round(4).to_string(), flush=True)


if __name__ == "__main__":
    main()
