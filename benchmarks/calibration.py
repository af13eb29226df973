"""Calibration of confidences and coverage of sets where query and reference are halves of one data set.

    python benchmarks/calibration.py --data DATA [--sets starmap_mpfc ...] [--seeds 3] [--genes 2000]

For each data set and seed: half of the cells train HRCA (laptop size, ``train()`` as it is), logistic regression and
the multinomial likelihood; the other half, at the depths below, is labelled by each. Writes results/calibration.csv, a
row for each method and depth, and results/calibration_classes.csv, the coverage of the sets by known label, for labels
with at least 100 cells; what is there already is not run again. Cells without counts are left out.

``hrca`` predicts with its defaults; ``hrca_label`` has class-conditional sets; ``hrca_raw`` is without calibration;
``hrca_adapted`` after ``adapt(query)`` at each depth. The others' sets are all labels, from the likeliest, until .9 of
the probability is reached, as are those of ``hrca_raw``.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import grid
import numpy as np
import pandas as pd
import record
import scanpy as sc
import scvi
from scipy.special import softmax

sys.path.append(str(Path(__file__).resolve().parent / "methods"))
import common
import likelihood
import linear
from expression import log_normalized

import hrca
from hrca import metrics
from hrca._calibration import Calibration

SETS = ("starmap_mpfc", "pbmc3k", "pbmc_facs_zheng")
LABELS_KEY = "cell_type"
DEPTHS = (1.0, 0.3, 0.1, 0.03)
COVERAGE = 0.9
# A label with fewer cells says too little of its coverage.
FEWEST_CELLS = 100
# Draws of right and wrong that a confidence which is right might have had.
N_CHANCE = 20


@dataclass(frozen=True)
class Answer:
    """What a method says of a query: probabilities and sets, both n_obs x n_labels."""

    probabilities: pd.DataFrame
    sets: pd.DataFrame


def until(probabilities: pd.DataFrame, coverage: float) -> pd.DataFrame:
    """Choose labels, from the likeliest, until their probability reaches `coverage`."""
    order = np.argsort(-probabilities.to_numpy(), axis=1, kind="stable")
    sorted_ = np.take_along_axis(probabilities.to_numpy(), order, axis=1)
    chosen = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(chosen, order, sorted_.cumsum(axis=1) - sorted_ < coverage, axis=1)
    return pd.DataFrame(chosen, index=probabilities.index, columns=probabilities.columns)


def of_hrca(model: hrca.HRCA, query: ad.AnnData, *, class_conditional: bool = False) -> Answer:
    """Probabilities and sets of HRCA."""
    query = query.copy()
    probabilities = model.predict(query, soft=True, coverage=COVERAGE, class_conditional=class_conditional)
    return Answer(probabilities, query.obsm["hrca_set"].set_axis(probabilities.columns, axis=1))


def of_table(probabilities: np.ndarray, labels: np.ndarray, query: ad.AnnData) -> Answer:
    """Probabilities of a method that has no sets of its own."""
    table = pd.DataFrame(probabilities, index=query.obs_names, columns=labels)
    return Answer(table, until(table, COVERAGE))


def methods(reference: ad.AnnData, seed: int) -> dict[str, Callable[[ad.AnnData], Answer]]:
    """Train each method; return how to ask it."""
    scvi.settings.seed = seed
    own = reference.copy()
    hrca.HRCA.setup_anndata(own, labels_key=LABELS_KEY)
    model = hrca.HRCA(own, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    raw = copy.copy(model)
    raw.module = copy.deepcopy(model.module)
    raw.module.calibration = Calibration()
    task = common.Task(reference, LABELS_KEY, seed, {})
    regression = linear.train(task)
    profiles = likelihood.train(common.Task(reference, LABELS_KEY, seed, {}, "multinomial"))

    def of_raw(query: ad.AnnData) -> Answer:
        table = raw.predict(query, soft=True, key_added=None)
        return Answer(table, until(table, COVERAGE))

    def of_regression(query: ad.AnnData) -> Answer:
        x = log_normalized(query)[:, regression.genes].X
        return of_table(regression.classifier.predict_proba(x), regression.classifier.classes_, query)

    def of_likelihood(query: ad.AnnData) -> Answer:
        said = likelihood.multinomial(query.X.tocsr().astype(float), profiles.profiles)
        return of_table(softmax(said, axis=1), profiles.labels, query)

    return {
        "hrca": lambda query: of_hrca(model, query),
        "hrca_label": lambda query: of_hrca(model, query, class_conditional=True),
        "hrca_raw": of_raw,
        "hrca_adapted": lambda query: of_hrca(model.adapt(query, enable_progress_bar=False), query),
        "logistic_regression": of_regression,
        "multinomial": of_likelihood,
    }


def chance(confidence: np.ndarray) -> float:
    """Calibration error that these confidences would have if each were right: few cells have some by chance."""
    rng = np.random.default_rng(0)
    right = [np.where(rng.random(len(confidence)) < confidence, "same", "other") for _ in range(N_CHANCE)]
    same = np.full(len(confidence), "same")
    return float(np.mean([metrics.calibration_error(known, same, confidence) for known in right]))


def score(answer: Answer, known: np.ndarray) -> tuple[dict, pd.DataFrame]:
    """Scores over all cells, and of the sets by known label."""
    table = answer.probabilities.to_numpy(dtype=float)
    predicted, confidence = answer.probabilities.columns.to_numpy()[table.argmax(axis=1)], table.max(axis=1).clip(0, 1)
    sets = metrics.set_scores(known, answer.sets).loc["all"]
    row = {
        "n_obs": len(known),
        "accuracy": np.mean(predicted == known),
        "confidence": confidence.mean(),
        "calibration_error": metrics.calibration_error(known, predicted, confidence),
        "by_chance": chance(confidence),
        "risk_coverage_area": metrics.risk_coverage_area(known, predicted, confidence),
        "coverage": sets["coverage"],
        "size": sets["size"],
        "empty": sets["empty"],
    }
    by_label = metrics.set_scores(known, answer.sets, by=known)
    return row, by_label[by_label["n_obs"] >= FEWEST_CELLS]


def halves(name: str, data: Path, seed: int, n_genes: int | None) -> tuple[ad.AnnData, ad.AnnData]:
    """Split a data set at random, on the genes that vary most in the first half if a number is given."""
    adata = hrca.datasets.local(name, data)
    adata.obs[LABELS_KEY] = adata.obs[LABELS_KEY].astype(str)
    order = grid.generator(seed, f"halves of {name}").permutation(adata.n_obs)
    reference, query = (adata[np.sort(half)].copy() for half in np.array_split(order, 2))
    if n_genes is not None and n_genes < adata.n_vars:
        normalized = log_normalized(reference)
        sc.pp.highly_variable_genes(normalized, n_top_genes=n_genes)
        chosen = normalized.var["highly_variable"].to_numpy()
        reference, query = reference[:, chosen].copy(), query[:, chosen].copy()
    return reference[grid.totals(reference) > 0].copy(), query


def measure(name: str, data: Path, seed: int, n_genes: int | None) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Train and ask all methods; their scores, one method and depth after the other."""
    reference, query = halves(name, data, seed, n_genes)
    ask = methods(reference, seed)
    for depth in DEPTHS:
        thinned = grid.thin(query, depth, grid.generator(seed, f"{depth:g} of {name}"))
        thinned = thinned[grid.totals(thinned) > 0].copy()
        known = thinned.obs[LABELS_KEY].to_numpy().astype(str)
        for method, answer in ask.items():
            where = {"data": name, "seed": seed, "n_genes": query.n_vars, "method": method, "depth": depth}
            row, by_label = score(answer(thinned), known)
            counts = {"median_counts": float(np.median(grid.totals(thinned)))}
            yield {**where, **counts, **row}, by_label.rename_axis("label").reset_index().assign(**where)


def append(path: Path, rows: pd.DataFrame) -> None:
    """Add rows to a CSV file."""
    path.parent.mkdir(exist_ok=True)
    rows.round(4).to_csv(path, mode="a", header=not path.exists(), index=False, lineterminator="\n")


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--genes", type=int, help="most variable genes to keep; all if not given")
    parser.add_argument("--out", type=Path, default=record.HERE / "results")
    arguments = parser.parse_args()
    path, by_label_path = (arguments.out / f"{name}.csv" for name in ("calibration", "calibration_classes"))
    genes = "all" if arguments.genes is None else str(arguments.genes)
    there = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame(columns=["data", "seed", "genes"])
    there = set(there[["data", "seed", "genes"]].itertuples(index=False, name=None))
    for seed in range(arguments.seeds):
        for name in arguments.sets:
            if (name, str(seed), genes) in there:
                continue
            rows, by_label = zip(*measure(name, arguments.data, seed, arguments.genes), strict=True)
            table = pd.DataFrame([{"genes": genes, **row, **record.provenance()} for row in rows])
            append(by_label_path, pd.concat(by_label).assign(genes=genes))
            append(path, table)
            print(table[["data", "seed", "method", "depth", "calibration_error", "by_chance", "coverage", "size"]])


if __name__ == "__main__":
    main()
