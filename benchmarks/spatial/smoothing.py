"""Labels after a look at the cells around: spatial smoothing and voting in clusters.

    python benchmarks/smoothing.py --data DATA [--seeds 1]

``starmap_mpfc``, each section labelled by the other two, and ``poa_scrna_moffitt -> poa_merfish_b0.06``: HRCA (laptop
size, ``train()`` as it is), then ``hrca.tl.smooth`` over the 6 nearest cells of the section, and
``hrca.tl.majority_vote`` in Leiden over-clusters of the latent space. Writes results/smoothing.csv: accuracy and
macro-F1, and how much the recall of types with less than 2 % of the cells fell at most.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import grid
import numpy as np
import pandas as pd
import record
import scanpy as sc
import scvi
from sklearn.metrics import recall_score
from sklearn.neighbors import kneighbors_graph

import hrca
from hrca import metrics, tl

PAIR = "poa_scrna_moffitt -> poa_merfish_b0.06"
N_NEIGHBOURS = 6
RARE = 0.02


def measure(source: grid.QueryInput, data: Path, seed: int) -> Iterator[dict]:
    """Train, predict, and score each column."""
    pair = grid.load(source, data)
    reference, query, key = pair.reference.copy(), pair.query.copy(), pair.labels_key
    scvi.settings.seed = seed
    hrca.HRCA.setup_anndata(reference, labels_key=key)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    model.predict(query)
    query.obsp["spatial_connectivities"] = kneighbors_graph(query.obsm["spatial"], N_NEIGHBOURS)
    tl.smooth(query)
    query.obsm["latent"] = model.get_latent_representation(query)
    sc.pp.neighbors(query, use_rep="latent", random_state=seed)
    tl.majority_vote(query, seed=seed)
    known = query.obs[key].to_numpy().astype(str)
    share = pd.Series(known).value_counts(normalize=True)
    recall = {}
    for column in ("hrca", "hrca_smooth", "hrca_majority"):
        said = query.obs[column].to_numpy().astype(str)
        recall[column] = pd.Series(recall_score(known, said, labels=share.index, average=None), share.index)
        change = recall[column] - recall["hrca"]
        yield {
            "pair": source.name,
            "seed": seed,
            "column": column,
            **metrics.annotation_scores(known, said)[["accuracy", "macro_f1"]],
            "n_rare": int((share < RARE).sum()),
            "rare_recall_change": change[share < RARE].min() if (share < RARE).any() else np.nan,
            "worst_recall_change": change.min(),
        }


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=record.HERE / "results")
    arguments = parser.parse_args()
    sources = [source for source in grid.SOURCES if source.left_out in ("BZ14", "BZ5", "BZ9") or source.name == PAIR]
    runs = [(source, seed) for seed in range(arguments.seeds) for source in sources]
    rows = [row for source, seed in runs for row in measure(source, arguments.data, seed)]
    table = pd.DataFrame([{**row, **record.provenance()} for row in rows]).round(4)
    table.to_csv(arguments.out / "smoothing.csv", index=False, lineterminator="\n")
    print(table.iloc[:, :8].to_string())


if __name__ == "__main__":
    main()
