"""Calibration of confidences and coverage of sets, within data sets and across them.

    python benchmarks/calibration.py --data DATA [--sets starmap_mpfc ...] [--seeds 3] [--genes 2000]
        [--methods hrca ...] [--environments FOLDER] [--across [--pairs BZ9 ...]]

Within: for each data set and seed, half of the cells train HRCA (laptop size, ``train()`` as it is), logistic
regression, the multinomial likelihood and, in its own environment (``benchmarks/environments/make.sh FOLDER``), scANVI;
the other half, at the depths below, is labelled by each. Writes results/calibration.csv, a row for each method and
depth; results/calibration_classes.csv, the coverage of the sets by known label, for labels with at least 100 cells; and
results/calibration_bins.csv, what calibration_report.py needs to take the cells of all splits together. Across
(``--across``): the pairs of the accuracy benchmark on all genes, cells of types that the reference has; writes the same
files, named calibration_across. What is there already is not run again. Cells without counts are left out.

``hrca`` predicts with its defaults; ``hrca_label`` has class-conditional sets, ``hrca_weighted`` sets weighted for the
query; ``hrca_folds`` and ``hrca_folds_label`` are ``train(n_folds=5)``; ``hrca_raw`` is without calibration;
``hrca_adapted`` after ``adapt(query)`` at each depth, with weighted sets. The others' sets are all labels, from the
most probable, until .9 of the probability is reached, as are those of ``hrca_raw``; scANVI says the confidence of its label
alone, and has none.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import accuracy
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
from hrca.module._calibration import Calibration
from hrca.uncertainty._posthoc_fit import fit_posthoc

SETS = ("starmap_mpfc", "pbmc3k", "pbmc_facs_zheng")
LABELS_KEY = "cell_type"
DEPTHS = (1.0, 0.3, 0.1, 0.03)
DEPTHS_ACROSS = (1.0, 0.1)
COVERAGE = 0.9
N_FOLDS = 5
# A label with fewer cells says too little of its coverage.
MIN_DISTANCE_CELLS = 100
# Draws of right and wrong that a confidence which is right might have had.
N_CHANCE = 20
SCANVI_TIMEOUT_S = 1800
METHODS = (
    "hrca",
    "hrca_label",
    "hrca_weighted",
    "hrca_folds",
    "hrca_folds_label",
    "hrca_raw",
    "hrca_adapted",
    "logistic_regression",
    "multinomial",
)


@dataclass(frozen=True)
class Case:
    """A reference, and the query that it is to label, with the known labels of both.

    Attributes
    ----------
    name
        Of the data set, or of the pair.
    seed
        Of the split, the thinning and the methods.
    pair
        The cells.
    depths
        Shares of the query's counts.
    """

    name: str
    seed: int
    pair: grid.Pair
    depths: tuple[float, ...]

    def queries(self) -> dict[float, ad.AnnData]:
        """The query at each depth, without the cells that have no counts there."""
        made = {}
        for depth in self.depths:
            thinned = grid.thin(self.pair.query, depth, grid.generator(self.seed, f"{depth:g} of {self.name}"))
            made[depth] = thinned[grid.totals(thinned) > 0].copy()
        return made


@dataclass(frozen=True)
class Answer:
    """What a method says of a query.

    Attributes
    ----------
    labels
        The label of each cell, shape (n_obs,).
    confidence
        Its probability, shape (n_obs,).
    sets
        Whether a label is in the cell's set, n_obs x n_labels; None for a method without.
    """

    labels: np.ndarray
    confidence: np.ndarray
    sets: pd.DataFrame | None


def until(probabilities: pd.DataFrame, coverage: float) -> pd.DataFrame:
    """Choose labels, from the most probable, until their probability reaches `coverage`."""
    order = np.argsort(-probabilities.to_numpy(), axis=1, kind="stable")
    sorted_ = np.take_along_axis(probabilities.to_numpy(), order, axis=1)
    chosen = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(chosen, order, sorted_.cumsum(axis=1) - sorted_ < coverage, axis=1)
    return pd.DataFrame(chosen, index=probabilities.index, columns=probabilities.columns)


def of_table(probabilities: pd.DataFrame, sets: pd.DataFrame | None = None) -> Answer:
    """Say the most probable label; without sets of the method's own, they are the most probable labels."""
    values = probabilities.to_numpy(dtype=float)
    labels = probabilities.columns.to_numpy()[values.argmax(axis=1)]
    sets = until(probabilities, COVERAGE) if sets is None else sets.set_axis(probabilities.columns, axis=1)
    return Answer(labels, values.max(axis=1).clip(0, 1), sets)


def of_hrca(model: hrca.HRCA, query: ad.AnnData, **settings: bool) -> Answer:
    """Probabilities and sets of HRCA."""
    query = query.copy()
    probabilities = model.predict(query, soft=True, coverage=COVERAGE, **settings)
    return of_table(probabilities, query.obsm["hrca_set"])


def with_module_of_its_own(model: hrca.HRCA) -> hrca.HRCA:
    """Copy a model so that its module can be changed."""
    other = copy.copy(model)
    other.module = copy.deepcopy(model.module)
    return other


def without_folds(model: hrca.HRCA) -> hrca.HRCA:
    """Return what ``train()`` makes of the same reference; its networks are the same to the last bit."""
    other = with_module_of_its_own(model)
    counts = model.adata_manager.get_from_registry("X")
    codes = model.adata_manager.get_from_registry("labels").ravel()
    other.conformal_scores_, other.n_folds_ = fit_posthoc(other.module, counts, codes, model.split_), None
    return other


def methods(reference: ad.AnnData, labels_key: str, seed: int, asked: set[str]) -> dict[str, Callable]:
    """Train the methods that are asked for; return how to ask each."""
    scvi.settings.seed = seed
    own = reference.copy()
    hrca.HRCA.setup_anndata(own, labels_key=labels_key)
    folds = hrca.HRCA(own, **hrca.SIZES["laptop"])
    with_folds = bool(asked & {"hrca_folds", "hrca_folds_label"})
    folds.train(n_folds=N_FOLDS if with_folds else None, enable_progress_bar=False)
    model = without_folds(folds)
    raw = with_module_of_its_own(model)
    raw.module.calibration = Calibration(len(model.labels))
    task = common.Task(reference, labels_key, seed, {})
    regression = linear.train(task) if "logistic_regression" in asked else None
    profiles = likelihood.train(common.Task(reference, labels_key, seed, {}, "multinomial"))

    def of_regression(query: ad.AnnData) -> Answer:
        said = regression.classifier.predict_proba(log_normalized(query)[:, regression.genes].X)
        return of_table(pd.DataFrame(said, query.obs_names, regression.classifier.classes_))

    def of_likelihood(query: ad.AnnData) -> Answer:
        said = softmax(likelihood.multinomial(query.X.tocsr().astype(float), profiles.profiles), axis=1)
        return of_table(pd.DataFrame(said, query.obs_names, profiles.labels))

    all_methods = {
        "hrca": lambda query: of_hrca(model, query),
        "hrca_label": lambda query: of_hrca(model, query, class_conditional=True),
        "hrca_folds": lambda query: of_hrca(folds, query),
        "hrca_folds_label": lambda query: of_hrca(folds, query, class_conditional=True),
        "hrca_weighted": lambda query: of_hrca(model, query, reweight_to_query=True),
        "hrca_raw": lambda query: of_table(raw.predict(query, soft=True, key_added=None)),
        "hrca_adapted": lambda query: of_hrca(
            model.adapt(query, enable_progress_bar=False), query, reweight_to_query=True
        ),
        "logistic_regression": of_regression,
        "multinomial": of_likelihood,
    }
    return {name: ask for name, ask in all_methods.items() if name in asked}


def of_scanvi(case: Case, queries: dict[float, ad.AnnData], environments: Path) -> dict[float, Answer]:
    """Train scANVI in its own environment, and let it label each query."""
    run = accuracy.command("scanvi", environments)
    if isinstance(run, str):
        raise SystemExit(f"scANVI cannot be run: {run}")
    source = grid.QueryInput(case.name, case.name, labels_key=case.pair.labels_key)
    job = grid.Job("scanvi", source, grid.ALL_GENES, case.seed, tuple(map(str, queries)))
    tables, _ = accuracy.label(job, case.pair, queries, run, SCANVI_TIMEOUT_S)
    return {
        depth: Answer(table["label"].to_numpy(), table["confidence"].to_numpy(dtype=float), None)
        for depth, table in tables.items()
    }


def chance(confidence: np.ndarray) -> float:
    """Calibration error that these confidences would have if each were right: few cells have some by chance."""
    rng = np.random.default_rng(0)
    right = [np.where(rng.random(len(confidence)) < confidence, "same", "other") for _ in range(N_CHANCE)]
    same = np.full(len(confidence), "same")
    return float(np.mean([metrics.calibration_error(known, same, confidence) for known in right]))


def score(answer: Answer, known: np.ndarray) -> tuple[dict, pd.DataFrame]:
    """Scores over all cells, and of the sets by known label."""
    row = {
        "n_obs": len(known),
        "accuracy": np.mean(answer.labels == known),
        "confidence": answer.confidence.mean(),
        "calibration_error": metrics.calibration_error(known, answer.labels, answer.confidence),
        "by_chance": chance(answer.confidence),
        "risk_coverage_area": metrics.risk_coverage_area(known, answer.labels, answer.confidence),
    }
    if answer.sets is None:
        return row | dict.fromkeys(("coverage", "size", "empty"), np.nan), pd.DataFrame()
    sets = metrics.set_scores(known, answer.sets).loc["all"]
    by_label = metrics.set_scores(known, answer.sets, by=known)
    return row | {name: sets[name] for name in ("coverage", "size", "empty")}, by_label[
        by_label["n_obs"] >= MIN_DISTANCE_CELLS
    ]


def bins(answer: Answer, known: np.ndarray) -> pd.DataFrame:
    """Cells by bin of confidence: how many, mean confidence and accuracy, and the sum of p (1 - p)."""
    table = metrics.reliability_table(known, answer.labels, answer.confidence)
    place = np.minimum((answer.confidence * metrics.N_BINS).astype(int), metrics.N_BINS - 1)
    variance = np.bincount(place, answer.confidence * (1 - answer.confidence), minlength=metrics.N_BINS)
    return table.drop(columns="by").assign(variance=variance[table["bin"]])


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


def within(names: list[str], seeds: int, n_genes: int | None, data: Path) -> Iterator[tuple[str, int, Callable]]:
    """Walk the data sets; what makes each case is called only if it is to be run."""
    for seed in range(seeds):
        for name in names:
            yield (
                name,
                seed,
                lambda name=name, seed=seed: Case(
                    name, seed, grid.Pair(*halves(name, data, seed, n_genes), LABELS_KEY), DEPTHS
                ),
            )


def across(parts: list[str], seeds: int, data: Path) -> Iterator[tuple[str, int, Callable]]:
    """Walk the pairs of the accuracy benchmark, as :func:`within`."""

    def make(source: grid.QueryInput, seed: int) -> Case:
        pair = grid.panel(grid.load(source, data), grid.ALL_GENES, seed)
        seen = grid.Pair(pair.reference, pair.query[pair.seen].copy(), pair.labels_key)
        return Case(source.name, seed, seen, DEPTHS_ACROSS[: 1 if source.spatial else None])

    for seed in range(seeds):
        for source in grid.SOURCES:
            if not parts or any(part in source.name for part in parts):
                yield source.name, seed, lambda source=source, seed=seed: make(source, seed)


def measure(
    case: Case, asked: set[str], environments: Path | None
) -> Iterator[tuple[dict, pd.DataFrame, pd.DataFrame]]:
    """Train and ask all methods; their scores, those by label, and bins, one method and depth after the other."""
    queries, key = case.queries(), case.pair.labels_key
    from_scanvi = of_scanvi(case, queries, environments) if "scanvi" in asked else {}
    ask = methods(case.pair.reference, key, case.seed, asked)
    for depth, query in queries.items():
        known = query.obs[key].to_numpy().astype(str)
        answers = {method: answer(query) for method, answer in ask.items()}
        answers |= {"scanvi": from_scanvi[depth]} if from_scanvi else {}
        for method, answer in answers.items():
            where = {"data": case.name, "seed": case.seed, "n_genes": query.n_vars, "method": method, "depth": depth}
            row, by_label = score(answer, known)
            counts = {"median_counts": float(np.median(grid.totals(query)))}
            by_label = by_label.rename_axis("label").reset_index().assign(**where)
            yield {**where, **counts, **row}, by_label, bins(answer, known).assign(**where)


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
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, "scanvi"], help="all but scANVI if not given")
    parser.add_argument("--environments", type=Path, help="folder of the peers' environments, for scANVI")
    parser.add_argument("--across", action="store_true", help="the pairs of the accuracy benchmark")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--out", type=Path, default=record.HERE / "results")
    arguments = parser.parse_args()
    if arguments.across:
        stem, cases = "calibration_across", across(arguments.pairs, arguments.seeds, arguments.data)
    else:
        stem, cases = "calibration", within(arguments.sets, arguments.seeds, arguments.genes, arguments.data)
    path, by_label_path, bins_path = (arguments.out / f"{stem}{part}.csv" for part in ("", "_classes", "_bins"))
    genes = "all" if arguments.across or arguments.genes is None else str(arguments.genes)
    columns = ["data", "seed", "genes", "method"]
    there = pd.read_csv(path, dtype=str) if path.exists() else pd.DataFrame(columns=columns)
    there = there.groupby(columns[:3])["method"].agg(set).to_dict()
    for name, seed, make in cases:
        lacking = set(arguments.methods or METHODS) - there.get((name, str(seed), genes), set())
        if not lacking:
            continue
        rows, by_label, by_bin = zip(*measure(make(), lacking, arguments.environments), strict=True)
        table = pd.DataFrame([{"genes": genes, **row, **record.provenance()} for row in rows])
        append(by_label_path, pd.concat(by_label).assign(genes=genes))
        append(bins_path, pd.concat(by_bin).assign(genes=genes))
        append(path, table)
        print(table[["data", "seed", "method", "depth", "calibration_error", "by_chance", "coverage", "size"]])


if __name__ == "__main__":
    main()
