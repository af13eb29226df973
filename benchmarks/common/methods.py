"""The methods of the accuracy benchmark: where each is, and how to label queries with it."""

import json
import sys
import tempfile
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import anndata as ad
import pandas as pd

from .data import ReferenceQueryPair
from .processes import MethodError, module_command, run_with_limit

BASELINES = "benchmarks.common.baselines"
Depth = TypeVar("Depth", bound=Hashable)


@dataclass(frozen=True)
class Method:
    """How to run a method.

    Attributes
    ----------
    module
        Module in ``benchmarks.common.baselines``.
    variant
        The method's name among those of the module.
    environment
        Folder of its environment; None runs it with this Python.
    is_quick
        True if the method is fast enough for ``--quick``.
    """

    module: str
    variant: str | None = None
    environment: str | None = None
    is_quick: bool = False


METHODS = {
    **{name: Method("likelihood", name, is_quick=True) for name in ("multinomial", "multinomial_platform")},
    **{name: Method("likelihood", name, is_quick=True) for name in ("negative_binomial", "negative_binomial_platform")},
    "knn_pca": Method("knn", is_quick=True),
    **{name: Method("linear", name, is_quick=True) for name in ("linear_svm", "logistic_regression")},
    "logistic_regression_thinned": Method("linear", "logistic_regression_thinned"),
    **{name: Method(name, environment=name, is_quick=True) for name in ("celltypist", "singler", "tacco")},
    **{name: Method(name, environment=name) for name in ("rctd", "xgboost", "scanvi")},
    **{name: Method("hrca_laptop", name) for name in ("hrca", "hrca_adapted", "hrca_alone")},
    **{name: Method("hrca_laptop", name) for name in ("hrca_networks", "hrca_matched")},
}


class EnvironmentMissingError(Exception):
    """The environment of a method does not exist."""


class MethodRun(NamedTuple, Generic[Depth]):
    """The labels of each query, by depth, and the method's report of its run."""

    labels: dict[Depth, pd.DataFrame]
    report: dict[str, Any]


def method_command(name: str, environments: Path | None) -> list[str]:
    """Return the command line of a method.

    Parameters
    ----------
    name
        Key of :data:`METHODS`.
    environments
        Folder of the environments, made by ``benchmarks/environments/make.sh``.

    Raises
    ------
    EnvironmentMissingError
        If the method has an environment of its own, and it does not exist.
    """
    method = METHODS[name]
    python = Path(sys.executable)
    if method.environment:
        python = (environments or Path("FOLDER")) / method.environment / "bin" / "python"
        if not python.exists():
            folder = environments or "FOLDER"
            raise EnvironmentMissingError(
                f"its environment does not exist; run benchmarks/environments/make.sh {folder} {name} "
                f"and pass --environments {folder}"
            )
    variant = ["--variant", method.variant] if method.variant else []
    return [*module_command(f"{BASELINES}.{method.module}", python), *variant]


def label_queries(
    command: list[str],
    pair: ReferenceQueryPair,
    queries: Mapping[Depth, ad.AnnData],
    *,
    seed: int,
    timeout_s: float,
) -> MethodRun[Depth]:
    """Train a method on a reference, and label queries with it, in a process of its own.

    Parameters
    ----------
    command
        Command line of the method, from :func:`method_command`.
    pair
        The reference, and the name of its column of labels.
    queries
        Query cells by depth: raw counts of the reference's genes. Their labels are not given to the method.
    seed
        Seed of the method.
    timeout_s
        Time limit of training and all predictions, in seconds.

    Raises
    ------
    MethodError
        If the method fails, does not end in time, or does not label each cell.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = pair.reference.copy()
        reference.obs = reference.obs[reference.obs.columns.intersection([pair.labels_key, "batch"])]
        reference.write_h5ad(folder / "reference.h5ad")
        files = {depth: folder / f"query{i}.h5ad" for i, depth in enumerate(queries)}
        for depth, query in queries.items():
            query = query.copy()
            query.obs = query.obs[[]]
            query.write_h5ad(files[depth])
        inputs = ["--reference", folder / "reference.h5ad", "--labels-key", pair.labels_key]
        options = ["--seed", seed, "--out", folder, *files.values()]
        run_with_limit([*command, *map(str, inputs + options)], folder, timeout_s)
        labels = {depth: _read_labels(file.with_suffix(".csv"), queries[depth].n_obs) for depth, file in files.items()}
        report = json.loads((folder / "run.json").read_text())
    report["predict_s"] = {depth: report["predict_s"][file.stem] for depth, file in files.items()}
    return MethodRun(labels, report)


def _read_labels(path: Path, n_obs: int) -> pd.DataFrame:
    if not path.exists():
        raise MethodError("wrote no labels")
    # a label may be called NA
    table = pd.read_csv(path, dtype={"label": str}, keep_default_na=False, na_values={"confidence": [""]})
    if len(table) != n_obs:
        raise MethodError(f"labelled {len(table)} of {n_obs} cells")
    return table
