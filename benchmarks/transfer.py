"""Accuracy of a laptop-size HRCA and of logistic regression on real reference -> query pairs, three seeds.

    python benchmarks/transfer.py --data DATA

writes results/transfer.csv. Both methods see the same genes and cells. ``hrca.demo.training`` chooses the
epochs, by one rule for all pairs.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import record
import scanpy as sc
import scvi

import hrca
from hrca import datasets, demo, metrics

# Genes that vary most in the reference, where it has more; both methods see these.
N_TOP_GENES = 2000
PAIRS = {
    "poa_scrna_moffitt -> poa_merfish_b0.06": ("poa_scrna_moffitt", "poa_merfish_b0.06"),
    "pbmc_facs_zheng -> pbmc3k": ("pbmc_facs_zheng", "pbmc3k"),
}


def load(data: Path, names: tuple[str, str]) -> demo.Pair:
    """Read a pair: labelled cells, shared genes, at most N_TOP_GENES of them."""
    reference, query = (datasets.local(name, data) for name in names)
    reference, query = (adata[adata.obs["label_harmonised"] != ""].copy() for adata in (reference, query))
    reference = reference[:, reference.var_names.isin(query.var_names)].copy()
    if reference.n_vars > N_TOP_GENES:
        normalized = reference.copy()
        sc.pp.normalize_total(normalized, target_sum=1e4)
        sc.pp.log1p(normalized)
        sc.pp.highly_variable_genes(normalized, n_top_genes=N_TOP_GENES)
        reference = reference[:, normalized.var["highly_variable"]].copy()
    query = query[:, reference.var_names].copy()
    for adata in (reference, query):
        adata.obs["label_harmonised"] = adata.obs["label_harmonised"].astype(str)
    return demo.Pair(reference, query, "label_harmonised")


def pairs(data: Path) -> dict[str, Callable[[int], demo.Pair]]:
    """What makes each pair, by its name; a seed goes in."""
    made = {name: lambda seed, files=files: load(data, files) for name, files in PAIRS.items()}
    return {**made, "blood -> blood at 30 % of the counts": demo.blood}


def score_hrca(pair: demo.Pair, seed: int, corruption: str) -> dict:
    """Train, predict and score one model."""
    scvi.settings.seed = seed
    training = demo.training(pair.reference.n_obs)
    hrca.HRCA.setup_anndata(pair.reference, labels_key=pair.labels_key)
    model = hrca.HRCA(pair.reference, **hrca.SIZES["laptop"])
    start = time.perf_counter()
    model.train(**training, corruption=corruption, enable_progress_bar=False)
    train_s = time.perf_counter() - start
    start = time.perf_counter()
    scores = model.evaluate(pair.query, pair.labels_key)
    return {**scores, "train_s": train_s, "predict_s": time.perf_counter() - start, "epochs": training["max_epochs"]}


def score_logistic_regression(pair: demo.Pair) -> dict:
    """Train, predict and score the baseline; cells of types that the reference lacks are not scored, as for HRCA."""
    start = time.perf_counter()
    predicted = demo.logistic_regression(pair)
    train_s = time.perf_counter() - start
    known = pair.query.obs[pair.labels_key]
    seen = known.isin(pair.reference.obs[pair.labels_key].unique()).to_numpy()
    scores = metrics.annotation_scores(known[seen], predicted[seen])
    return {**scores, "n_unseen": int((~seen).sum()), "train_s": train_s}


def main() -> None:
    """Run the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--corruptions", nargs="+", default=["thin"], help="thin, mask, none")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    for name, make in pairs(arguments.data).items():
        for seed in range(arguments.seeds):
            pair = make(seed)
            runs = {f"HRCA, {kind}": partial(score_hrca, seed=seed, corruption=kind) for kind in arguments.corruptions}
            runs["logistic regression"] = score_logistic_regression
            for method, run in runs.items():
                scores = {"epochs": "", "predict_s": "", **run(pair)}
                rows.append({"pair": name, "method": method, "seed": seed, "n_genes": pair.reference.n_vars, **scores})
                print({key: round(v, 3) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
                record.write("transfer", rows)
    table = pd.DataFrame(rows).groupby(["pair", "method"])[["accuracy", "macro_f1", "train_s"]]
    print(table.agg(["mean", "min", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
