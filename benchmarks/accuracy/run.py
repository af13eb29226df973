"""Accuracy of HRCA, of its peers and of plain baselines on pairs of real data sets: depths, gene panels, seeds.

    python benchmarks/accuracy.py --data DATA [--environments FOLDER] [--methods hrca multinomial ...] [--quick]

writes a CSV for each method to results/accuracy, a row at a time; rows that are there already are not run again. Peers
run in their own environments, which ``benchmarks/environments/make.sh FOLDER`` makes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grid
import numpy as np
import pandas as pd
import record
import scores
from table import Table

HERE = Path(__file__).resolve().parent
N_SEEDS = 3
# Three times the longest in the results, scANVI's 911 s on a core that was shared.
TIMEOUT_S = 3000
# Longest error text of a row.
N_ERROR = 300


@dataclass(frozen=True)
class Method:
    """How to run a method.

    Attributes
    ----------
    script
        File in ``methods``.
    variant
        Which of the methods in it.
    environment
        Folder of its environment; None runs it with this Python.
    quick
        Whether it is fast enough for ``--quick``.
    """

    script: str
    variant: str | None = None
    environment: str | None = None
    quick: bool = False


METHODS = {
    **{name: Method("likelihood", name, quick=True) for name in ("multinomial", "multinomial_platform")},
    **{name: Method("likelihood", name, quick=True) for name in ("negative_binomial", "negative_binomial_platform")},
    "knn_pca": Method("knn", quick=True),
    **{name: Method("linear", name, quick=True) for name in ("linear_svm", "logistic_regression")},
    "logistic_regression_thinned": Method("linear", "logistic_regression_thinned"),
    **{name: Method(name, environment=name, quick=True) for name in ("celltypist", "singler", "tacco")},
    **{name: Method(name, environment=name) for name in ("rctd", "xgboost", "scanvi")},
    **{name: Method("hrca_laptop", name) for name in ("hrca", "hrca_unadapted", "hrca_alone")},
    **{name: Method("hrca_laptop", name) for name in ("hrca_networks", "hrca_matched")},
}


class MethodError(Exception):
    """A method failed or took too long; the run goes on."""


def command(name: str, environments: Path | None) -> list[str] | str:
    """Give the command line of a method, or, as text, why there is none."""
    method = METHODS[name]
    script = HERE / "methods" / f"{method.script}.py"
    if not script.exists():
        return f"there is no {script.relative_to(HERE)}"
    python = Path(sys.executable)
    if method.environment:
        python = (environments or Path("FOLDER")) / method.environment / "bin" / "python"
        if not python.exists():
            return (
                f"its environment is not there; run benchmarks/environments/make.sh "
                f"{environments or 'FOLDER'} {name} and give --environments {environments or 'FOLDER'}"
            )
    return [str(python), str(script), *(["--variant", method.variant] if method.variant else [])]


def execute(arguments: list[str], folder: Path, timeout_s: float) -> None:
    """Run a command in a process group of its own, so that nothing it started outlives it."""
    with (folder / "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MethodError(f"timed out after {timeout_s:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        lines = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
        raise MethodError(lines[-1].strip()[:N_ERROR] if lines else f"exit status {code}")


def label(job: grid.Job, pair: grid.Pair, queries: dict, run: list[str], timeout_s: float) -> tuple[dict, dict]:
    """Let a method label the queries; return its tables, by depth, and what it reports of its run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = pair.reference.copy()
        reference.obs = reference.obs[reference.obs.columns.intersection([job.source.labels_key, "batch"])]
        reference.write_h5ad(folder / "reference.h5ad")
        files = {depth: folder / f"query{i}.h5ad" for i, depth in enumerate(queries)}
        for depth, query in queries.items():
            query = query.copy()
            query.obs = query.obs[[]]
            query.write_h5ad(files[depth])
        inputs = ["--reference", folder / "reference.h5ad", "--labels-key", job.source.labels_key]
        options = ["--seed", job.seed, "--out", folder, *files.values()]
        execute([*run, *map(str, inputs + options)], folder, timeout_s)
        labels = {depth: read(folder / f"{file.stem}.csv", queries[depth].n_obs) for depth, file in files.items()}
        report = json.loads((folder / "run.json").read_text())
    report["predict_s"] = {depth: report["predict_s"][file.stem] for depth, file in files.items()}
    return labels, report


def read(path: Path, n_obs: int) -> pd.DataFrame:
    """Read a method's labels of one query."""
    if not path.exists():
        raise MethodError("wrote no labels")
    # a label may be called NA
    table = pd.read_csv(path, dtype={"label": str}, keep_default_na=False, na_values={"confidence": [""]})
    if len(table) != n_obs:
        raise MethodError(f"labelled {len(table)} of {n_obs} cells")
    return table


def rows(job: grid.Job, lacking: list[str], data: Path, run: list[str], timeout_s: float) -> list[dict]:
    """Run a job; a row for each of the depths that are lacking, with scores or with an error."""
    whole = grid.load(job.source, data)
    pair = grid.panel(whole, job.genes, job.seed)
    if pair is None:
        return []
    queries = grid.queries(pair, job.depths, job.seed)
    queries = {depth: queries[depth] for depth in lacking if depth in queries}
    if not queries:
        return []
    known, seen = pair.query.obs[pair.labels_key].to_numpy(), whole.seen
    found, labels, report = {}, {}, {}
    try:
        labels, report = label(job, pair, queries, run, timeout_s)
    except MethodError as error:
        found["error"] = str(error)
    made = []
    for depth, query in queries.items():
        row = dict(zip(("method", "pair", "genes", "depth", "seed"), job.key(depth), strict=True))
        row |= {"n_genes": query.n_vars, "median_counts": float(np.median(grid.totals(query))), **provenance(), **found}
        if labels:
            table = labels[depth]
            row |= {key: report[key] for key in ("train_s", "peak_gb", "version", "python")}
            row |= {"predict_s": report["predict_s"][depth]}
            row |= scores.score(known, seen, table["label"].to_numpy(), table["confidence"].to_numpy(float))
        made.append(row)
    return made


def provenance() -> dict[str, str | int]:
    """Commit, date and machine of a row, and the cores that this process may use."""
    everything = record.provenance()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {**{key: everything[key] for key in ("date", "commit", "machine")}, "cores": cores}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the h5ad files")
    parser.add_argument("--environments", type=Path, help="folder of the peers' environments")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="all if not given")
    parser.add_argument("--pairs", nargs="+", default=[], help="only pairs whose name contains one of these")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--quick", action="store_true", help="a subset of five minutes")
    parser.add_argument("--retry-errors", action="store_true", help="run again what failed")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for one training and its queries")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "accuracy", help="folder of the results")
    return parser.parse_args()


def main() -> None:
    """Run the rows that are not there yet."""
    # a plain kill must end the method's process too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = parse()
    methods = arguments.methods or [name for name in METHODS if METHODS[name].quick or not arguments.quick]
    commands = {name: command(name, arguments.environments) for name in methods}
    for name, found in commands.items():
        if isinstance(found, str):
            print(f"{name} is skipped: {found}", flush=True)
    methods = [name for name in methods if not isinstance(commands[name], str)]
    tables = {name: Table(arguments.out / f"{name}.csv", retry_errors=arguments.retry_errors) for name in methods}
    n_seeds = 1 if arguments.quick else arguments.seeds
    for job in grid.jobs(methods, n_seeds, pairs=arguments.pairs, quick=arguments.quick):
        lacking = [depth for depth in job.depths if job.key(depth) not in tables[job.method].keys]
        if lacking:
            for row in rows(job, lacking, arguments.data, commands[job.method], arguments.timeout):
                tables[job.method].append(row)
                told = row.get("error") or f"macro-F1 {row['macro_f1']:.3f}, trained in {row['train_s']:.1f} s"
                print(*job.key(row["depth"]), told, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
