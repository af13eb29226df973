"""Accuracy of HRCA, published methods and plain baselines on pairs of real data sets: depths, gene panels, seeds.

    python -m benchmarks.accuracy.run --data DATA [--environments FOLDER] [--methods hrca multinomial ...] [--quick]

It writes a CSV file for each method to ``benchmarks/results/accuracy``, one row at a time. Rows in the files are not
measured again. Published methods run in their own environments, which ``benchmarks/environments/make.sh FOLDER`` makes.
"""

import argparse
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from benchmarks.common import scores
from benchmarks.common.data import ReferenceQueryPair, read_pair, restrict_to_panel, thin_queries, total_counts
from benchmarks.common.methods import METHODS, EnvironmentMissingError, MethodRun, label_queries, method_command
from benchmarks.common.processes import MethodError
from benchmarks.common.results import RESULTS, Table

from .grid import COLUMNS, KEY, PROVENANCE, Job, jobs

N_SEEDS = 3
# Three times the longest in the results, scANVI's 911 s on a core that was shared.
TIMEOUT_S = 3000


def measure(
    job: Job, missing_depths: Iterable[str], data: Path, command: list[str], timeout_s: float
) -> list[dict[str, Any]]:
    """Run a job.

    Parameters
    ----------
    job
        The training.
    missing_depths
        Depths to label and score.
    data
        Folder of the h5ad files.
    command
        Command line of the method.
    timeout_s
        Time limit, in seconds.

    Returns
    -------
    A row for each of the missing depths, with scores or with an error. There are none if the pair has no more genes
    than the panel.
    """
    whole = read_pair(job.pair, data)
    pair = restrict_to_panel(whole, job.gene_set, job.seed)
    if pair is None:
        return []
    # all depths are thinned together, because unreached medians depend on one another
    thinned = thin_queries(pair, job.depths, job.seed)
    queries = {depth: thinned[depth] for depth in missing_depths if depth in thinned}
    if not queries:
        return []
    try:
        run = label_queries(command, pair, queries, seed=job.seed, timeout_s=timeout_s)
    except MethodError as error:
        return [{**_describe(job, depth, query), "error": str(error)} for depth, query in queries.items()]
    return _score(job, pair, whole.is_known_label, queries, run)


def _describe(job: Job, depth: str, query: ad.AnnData) -> dict[str, Any]:
    key = dict(zip(KEY, job.key(depth), strict=True))
    return {**key, "n_genes": query.n_vars, "median_counts": float(np.median(total_counts(query)))}


def _score(
    job: Job,
    pair: ReferenceQueryPair,
    is_known_label: np.ndarray,
    queries: Mapping[str, ad.AnnData],
    run: MethodRun[str],
) -> list[dict[str, Any]]:
    true_labels = pair.query.obs[pair.labels_key].to_numpy()
    cost = {name: run.report[name] for name in ("train_s", "peak_gb", "version", "python")}
    rows = []
    for depth, query in queries.items():
        predicted = run.labels[depth]["label"].to_numpy()
        confidence = run.labels[depth]["confidence"].to_numpy(float)
        scored = scores.score(true_labels, is_known_label, predicted, confidence)
        predict_s = run.report["predict_s"][depth]
        rows.append({**_describe(job, depth, query), **cost, "predict_s": predict_s, **scored})
    return rows


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--environments", type=Path, help="folder of the published methods' environments")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="all if not given")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="number of seeds")
    parser.add_argument("--quick", action="store_true", help="the part of the grid that takes five minutes")
    parser.add_argument("--retry-errors", action="store_true", help="run failed rows again")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for one training and its queries")
    parser.add_argument("--out", type=Path, default=RESULTS / "accuracy", help="folder of the results")
    return parser.parse_args()


def available_commands(methods: Iterable[str], environments: Path | None) -> dict[str, list[str]]:
    """Return the command line of each method, and print the methods whose environment is missing."""
    commands = {}
    for name in methods:
        try:
            commands[name] = method_command(name, environments)
        except EnvironmentMissingError as error:
            print(f"{name} is skipped: {error}", flush=True)
    return commands


def open_table(folder: Path, method: str, *, retry_errors: bool = False) -> Table:
    """Open the results of a method."""
    return Table(
        folder / f"{method}.csv",
        KEY,
        columns=COLUMNS,
        provenance_columns=PROVENANCE,
        decimals=None,
        retry_errors=retry_errors,
    )


def main() -> None:
    """Measure the rows that the results lack."""
    # a plain kill must also end the method's process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = parse()
    methods = arguments.methods or [name for name in METHODS if METHODS[name].is_quick or not arguments.quick]
    commands = available_commands(methods, arguments.environments)
    tables = {name: open_table(arguments.out, name, retry_errors=arguments.retry_errors) for name in commands}
    n_seeds = 1 if arguments.quick else arguments.seeds
    for job in jobs(commands, n_seeds, name_parts=arguments.pairs, is_quick=arguments.quick):
        table = tables[job.method]
        missing_depths = [depth for depth in job.depths if job.key(depth) not in table.keys]
        if missing_depths:
            for row in measure(job, missing_depths, arguments.data, commands[job.method], arguments.timeout):
                table.append([row])
                outcome = row.get("error") or f"macro-F1 {row['macro_f1']:.3f}, trained in {row['train_s']:.1f} s"
                print(*job.key(row["depth"]), outcome, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
