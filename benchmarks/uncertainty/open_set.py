"""References that lack some of the query's types: labels, confidence, novelty and warnings.

    python -m benchmarks.uncertainty.open_set --data DATA --models FOLDER [--pairs BZ9 ...] [--seeds 3] [--out FOLDER]

The pairs are those of the accuracy benchmark, on all shared genes or the 2,000 that vary most in the reference. Types
that both sides have are left out of the reference: none, the query's commonest, its two commonest, a middle one, half
of them at random. ``pbmc3k -> xenium_breast`` is as it is, and with the query's T and B cells alone; its query has no
finer types. Queries that are not spatial are also thinned to a tenth. HRCA has the laptop size and the defaults. FOLDER
keeps the models.

It writes ``benchmarks/results/uncertainty/open_set.csv``, a row for each query and each of ``hrca`` and
``hrca_uncorrected`` (``platform_correction=False``). *Covered* cells have a type that the reference has. The others are
*separable* if a model that knows their type gives it an F1 of at least 0.9 at this depth.

- ``macro_f1`` of covered cells;
- ``novelty_auroc`` and ``confidence_auroc``, of uncovered against covered cells, and ``separable_auroc`` of novelty;
- ``confident`` and ``separable_confident``, fractions of uncovered and of separable cells with a confidence of at least
  0.9;
- ``false_rejection`` and ``rejected``, fractions of covered and uncovered cells that ``predict(novelty_fpr=0.05)``
  rejects;
- ``calibration_error`` over all cells, where each label of an uncovered cell is wrong, and ``covered_error``;
- ``coverage`` and ``size`` of the sets of covered cells, for 0.9, and ``uncovered_empty``;
- ``novel_fraction``, of cells with a novel probability of at least one half, and ``n_warnings``, of HRCA.

Rows in the file are not measured again. ``--summary`` prints the means.
"""

import argparse
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scvi
from sklearn.metrics import f1_score, roc_auc_score

import hrca
from benchmarks.common.data import (
    ALL_GENES,
    PAIRS,
    PairSpec,
    ReferenceQueryPair,
    drop_empty_cells,
    read_pair,
    restrict_to_panel,
    seeded_generator,
)
from benchmarks.common.results import RESULTS, Table, read_rows
from hrca import metrics
from hrca.annotation._labels import is_rejected

from .splits import DEPTHS_ACROSS, thin_by_name

KEY = ("pair", "left_out", "depth", "seed", "method")
METHODS = {"hrca": {}, "hrca_uncorrected": {"platform_correction": False}}
VARIANTS = ("none", "commonest", "two commonest", "middle", "half")
MAX_GENES = 2000
XENIUM = PairSpec("pbmc3k", "xenium_breast", labels_key="cell_type", is_spatial=True)
# Type of a Xenium cell that covers the labels of the reference.
XENIUM_TYPES = {"B": "B cells", **dict.fromkeys(("CD8 T", "Memory CD4 T", "Naive CD4 T"), "T cells")}
ALONE = "T and B alone"
COVERAGE, NOVELTY_FPR = 0.9, 0.05
MIN_SEPARABLE_F1, HIGH_CONFIDENCE = 0.9, 0.9
# Pairs that the settings were chosen on; the others check them.
CHOSEN_ON = (
    "pbmc_facs_zheng -> pbmc3k",
    "pbmc3k -> pbmc_symphony_3tech",
    "poa_scrna_moffitt -> poa_merfish_b0.06",
    "starmap_mpfc -> BZ14",
    "pbmc_symphony_3tech -> 3pv1",
)

# F1 of a type, by pair, depth and type, of the model that knows all types.
TypeF1 = dict[tuple[str, float, str], float]


@dataclass(frozen=True)
class OpenCase:
    """A reference without some types, and a query.

    Attributes
    ----------
    spec
        The pair of data sets.
    left_out
        Which types the reference lacks, one of :data:`VARIANTS`; or the query's cells, for Xenium.
    seed
        Seed of the types, of the thinning and of the model.
    """

    spec: PairSpec
    left_out: str
    seed: int

    @property
    def model_name(self) -> str:
        """Name of the model's folder."""
        left_out = "none" if self.left_out == ALONE else self.left_out
        return re.sub(r"\W+", "_", f"{self.spec.name}-{left_out}-{self.seed}")

    @property
    def depths(self) -> tuple[float, ...]:
        """Fractions of the query's counts."""
        return DEPTHS_ACROSS[: 1 if self.spec.is_spatial else None]

    def read(self, folder: Path) -> ReferenceQueryPair:
        """Read the pair, without the types that are left out of the reference."""
        pair = read_pair(self.spec, folder)
        genes = f"{MAX_GENES} variable" if pair.reference.n_vars > MAX_GENES else ALL_GENES
        restricted = restrict_to_panel(pair, genes, self.seed)
        if restricted is None:
            raise ValueError(f"{self.spec.name} must have more than {MAX_GENES} genes.")
        types = self._types(restricted)
        reference = restricted.reference
        if types:
            reference = reference[~reference.obs[pair.labels_key].isin(types)].copy()
        query = restricted.query
        if self.left_out == ALONE:
            query = query[query.obs[pair.labels_key].isin(XENIUM_TYPES.values())].copy()
        return ReferenceQueryPair(drop_empty_cells(reference), query, pair.labels_key)

    def _types(self, pair: ReferenceQueryPair) -> list[str]:
        counts = pair.query.obs[pair.labels_key][pair.is_known_label].value_counts()
        common = list(counts.sort_index().sort_values(ascending=False, kind="stable").index)
        if self.left_out == "half":
            rng = seeded_generator(self.seed, "half of the types")
            return sorted(rng.choice(common, len(common) // 2, replace=False))
        chosen = {"commonest": common[:1], "two commonest": common[:2], "middle": common[len(common) // 2 :][:1]}
        return chosen.get(self.left_out, [])


def cases(name_parts: list[str], n_seeds: int) -> Iterator[OpenCase]:
    """Yield the cases; a pair's model that knows all types comes before those that do not."""
    for seed in range(n_seeds):
        for left_out in VARIANTS:
            yield from (OpenCase(spec, left_out, seed) for spec in PAIRS if _is_named(spec, name_parts))
        if _is_named(XENIUM, name_parts):
            yield from (OpenCase(XENIUM, left_out, seed) for left_out in ("none", ALONE))


def _is_named(spec: PairSpec, name_parts: list[str]) -> bool:
    return not name_parts or any(part in spec.name for part in name_parts)


def load_or_train(case: OpenCase, pair: ReferenceQueryPair, folder: Path) -> hrca.HRCA:
    """Load a model from its folder, or train and save it if the folder has none."""
    path, reference = folder / case.model_name, pair.reference.copy()
    if (path / "model.json").exists():
        return hrca.HRCA.load(path, adata=reference)
    scvi.settings.seed = case.seed
    hrca.HRCA.setup_anndata(reference, labels_key=pair.labels_key)
    model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    model.train(enable_progress_bar=False)
    model.save(path)
    return model


def measure(case: OpenCase, data: Path, models: Path, type_f1: TypeF1) -> Iterator[dict[str, Any]]:
    """Score a model at each depth by each method; the model that knows all types adds to `type_f1`."""
    pair = case.read(data)
    model = load_or_train(case, pair, models)
    for depth in case.depths:
        query = thin_by_name(pair.query, depth, case.seed, case.spec.name)
        types = query.obs[pair.labels_key].to_numpy().astype(str)
        for method, options in METHODS.items():
            with warnings.catch_warnings():
                # counted from uns: other libraries warn too
                warnings.simplefilter("ignore", UserWarning)
                labelled = query.copy()
                model.predict(labelled, coverage=COVERAGE, enable_progress_bar=False, **options)
            if case.left_out == "none" and method == "hrca":
                type_f1 |= f1_by_type(case, depth, types, labelled.obs["hrca"].to_numpy().astype(str))
            where = {"pair": case.spec.name, "left_out": case.left_out, "depth": depth, "seed": case.seed}
            separable = np.array([is_separable_type(case, depth, name, type_f1) for name in types])
            scores = score(case, labelled, types, model.labels, separable)
            yield {**where, "method": method, **scores}


def f1_by_type(case: OpenCase, depth: float, types: np.ndarray, predicted: np.ndarray) -> TypeF1:
    """Return the F1 of each type of a query."""
    names = np.unique(types)
    scores = f1_score(types, predicted, labels=names, average=None, zero_division=0)
    return {(case.spec.name, depth, name): value for name, value in zip(names, scores, strict=True)}


def is_separable_type(case: OpenCase, depth: float, name: str, type_f1: TypeF1) -> bool:
    """Return True for a type that a model which knows it separates at this depth."""
    # blood cells, and cells of a tumour that no blood reference has
    if case.spec is XENIUM:
        return name not in XENIUM_TYPES.values()
    return type_f1.get((case.spec.name, depth, name), 0.0) >= MIN_SEPARABLE_F1


def score(
    case: OpenCase,
    query: ad.AnnData,
    types: np.ndarray,
    labels: list[str],
    is_separable: np.ndarray,
) -> dict[str, float]:
    """Score a labelled query.

    Parameters
    ----------
    case
        Where the query comes from.
    query
        The query after ``predict(coverage=0.9)``.
    types
        True type of each cell, shape (n_obs,).
    labels
        The labels of the model.
    is_separable
        Boolean, cells of a type that a model which knows it separates, shape (n_obs,).
    """
    names = {label: XENIUM_TYPES.get(label, label) if case.spec is XENIUM else label for label in labels}
    predicted = query.obs["hrca"].astype(str).map(names).fillna("Unknown").to_numpy()
    confidence = query.obs["hrca_confidence"].to_numpy(dtype=float).clip(0, 1)
    novelty = query.obs["hrca_novelty"].to_numpy(dtype=float)
    novel = query.obs.get("hrca_novel_probability", pd.Series(0.0, index=query.obs_names)).to_numpy(dtype=float)
    rejected = is_rejected(novelty, novel, NOVELTY_FPR)
    covered = np.isin(types, list(names.values()))
    separable = ~covered & is_separable
    sets = query.obsm["hrca_set"].set_axis(list(names.values()), axis=1).T.groupby(level=0).any().T
    return {
        "n_obs": len(types),
        "uncovered_fraction": np.mean(~covered),
        "separable_fraction": np.mean(separable),
        "macro_f1": f1_score(
            types[covered], predicted[covered], labels=np.unique(types[covered]), average="macro", zero_division=0
        ),
        "novelty_auroc": _auroc(~covered, novelty),
        "separable_auroc": _auroc(separable[covered | separable], novelty[covered | separable]),
        "confidence_auroc": _auroc(~covered, -confidence),
        "confident": _mean(confidence[~covered] >= HIGH_CONFIDENCE),
        "separable_confident": _mean(confidence[separable] >= HIGH_CONFIDENCE),
        "covered_confident": _mean(confidence[covered] >= HIGH_CONFIDENCE),
        "false_rejection": _mean(rejected[covered]),
        "rejected": _mean(rejected[~covered]),
        "calibration_error": metrics.calibration_error(np.where(covered, types, "uncovered"), predicted, confidence),
        "covered_error": metrics.calibration_error(types[covered], predicted[covered], confidence[covered]),
        "coverage": metrics.set_scores(types[covered], sets[covered]).loc["all", "coverage"],
        "size": _mean(sets.to_numpy().sum(axis=1)[covered]),
        "uncovered_empty": _mean(sets.to_numpy().sum(axis=1)[~covered] == 0),
        "novel_fraction": _mean(novel >= 0.5),
        "n_warnings": len(query.uns["hrca"]["warnings"]),
    }


def _auroc(is_positive: np.ndarray, scores: np.ndarray) -> float:
    return roc_auc_score(is_positive, scores) if 0 < is_positive.sum() < len(is_positive) else np.nan


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of each method: closed pairs, and open ones, of the pairs that chose and that checked."""
    pairs = rows[rows["pair"] != XENIUM.name].copy()
    pairs["kind"] = np.where(pairs["left_out"] == "none", "closed", "open")
    pairs["pairs"] = np.where(pairs["pair"].isin(CHOSEN_ON), "chosen on", "checked on")
    pairs["warned"] = pairs["n_warnings"] > 0
    columns = ["macro_f1", "novelty_auroc", "separable_auroc", "confidence_auroc", "confident", "separable_confident"]
    columns += ["covered_confident", "false_rejection", "rejected", "calibration_error", "covered_error", "coverage"]
    columns += ["size", "uncovered_empty", "warned"]
    return pairs.groupby(["kind", "pairs", "method"])[columns].mean()


def main() -> None:
    """Measure what the results lack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--models", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--out", type=Path, default=RESULTS / "uncertainty", help="folder of the results")
    parser.add_argument("--summary", action="store_true", help="print the means of the rows")
    arguments = parser.parse_args()
    table = Table(arguments.out / "open_set.csv", KEY)
    type_f1: TypeF1 = {}
    for case in cases(arguments.pairs, arguments.seeds):
        keys = {
            (case.spec.name, case.left_out, str(depth), str(case.seed), method)
            for depth in case.depths
            for method in METHODS
        }
        is_missing = not keys <= table.keys
        # the F1 of all types is not in the file, so that these models are scored again
        if case.left_out == "none" or is_missing:
            rows = list(measure(case, arguments.data, arguments.models, type_f1))
            if is_missing:
                table.append(rows)
                print(f"{case.spec.name}, {case.left_out}, seed {case.seed}: measured", flush=True)
    if arguments.summary:
        print(summary(read_rows(table.path)).T.round(3).to_string())


if __name__ == "__main__":
    main()
