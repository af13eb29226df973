"""Frozen answers: everything that a model returns, recorded before the packages were laid out.

    python tests/frozen.py            # compare with the recorded answers, one line a case
    python tests/frozen.py --record   # record them anew; only where a change of behaviour is intended

The answers stand in ``tests/assets/frozen/<case>.npz``. ``tests/test_frozen.py`` compares them to the last bit on a
machine with the processor and the versions that recorded them, and within a tolerance elsewhere: other processors round
differently, and training adds the differences up.
"""

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from conftest import QUIET, TINY, synthetic
from threadpoolctl import threadpool_limits

import hrca

ASSETS = Path(__file__).resolve().parent / "assets" / "frozen"
DATA = Path(os.environ.get("HRCA_DATA_DIR", Path(__file__).resolve().parents[2] / "shared" / "data"))
# What bits depend on, beside the code.
PACKAGES = ("anndata", "lightning", "numpy", "pandas", "scikit-learn", "scipy", "scvi-tools", "torch")


def fingerprint() -> dict[str, str]:
    """What the last bits of an answer depend on: the versions of the libraries and the processor."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        # virtual machines give several processors the same name: the family and the model tell them apart
        fields = (line.partition(":") for line in cpuinfo.read_text().split("\n\n")[0].splitlines())
        values = {name.strip(): value.strip() for name, _, value in fields}
        found = [values[name] for name in ("model name", "cpu family", "model", "stepping") if name in values]
        model = ", ".join(found) or model
    blas = os.environ.get("OPENBLAS_CORETYPE", "")
    processor = f"{model}, {torch.backends.cpu.get_cpu_capability()}, {blas}"
    return {"processor": processor, **{name: version(name) for name in PACKAGES}}


def shuffled_query() -> ad.AnnData:
    """37 cells, labelled: 45 of the reference's genes and 5 others, shuffled; one cell empty."""
    rng = np.random.default_rng(1)
    adata = synthetic(37, n_genes=65, seed=2)
    adata = adata[:, rng.permutation(np.r_[0:45, 60:65])].copy()
    counts = adata.X.tolil()
    counts[5] = 0
    adata.X = counts.tocsr()
    return adata


def tiny_model(**settings) -> hrca.HRCA:
    """An untrained model on 100 synthetic cells."""
    scvi.settings.seed = 0
    reference = synthetic(100)
    parents = settings.pop("labels_hierarchy", None)
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type", labels_hierarchy=parents)
    return hrca.HRCA(reference, **TINY, **settings)


def answers(model: hrca.HRCA, query: ad.AnnData, **predict) -> dict[str, np.ndarray]:
    """Everything that `predict` writes, as arrays by name."""
    query = query.copy()
    model.predict(query, enable_progress_bar=False, **predict)
    found = {
        "labels": query.obs["hrca"].to_numpy(dtype=str),
        "confidence": query.obs["hrca_confidence"].to_numpy(),
        "probabilities": query.obsm["hrca_probabilities"].to_numpy(),
    }
    if "hrca_novelty" in query.obs:
        found["novelty"] = query.obs["hrca_novelty"].to_numpy()
    if "hrca_set" in query.obsm:
        found["sets"] = query.obsm["hrca_set"].to_numpy()
    return found


def prefixed(prefix: str, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays with a prefix before their names."""
    return {f"{prefix}_{name}": values for name, values in found.items()}


def describe(model: hrca.HRCA, query: ad.AnnData, *, adapt: bool = True) -> dict[str, np.ndarray]:
    """Answers of one model in every form that it has."""
    found = prefixed("plain", answers(model, query, coverage=0.9))
    found |= prefixed("by_class", answers(model, query, coverage=0.8, class_conditional=True))
    found |= prefixed("weighted", answers(model, query, coverage=0.9, reweight_to_query=True))
    found |= prefixed("alone", answers(model, query, platform_correction=False, novelty_fpr=0.3))
    found["latent"] = model.get_latent_representation(query)
    found["expression"] = model.get_reconstruction(query).to_numpy()
    found["evaluate"] = model.evaluate(query, "cell_type").to_numpy(dtype=float)
    if adapt:
        adapted = model.adapt(query, select=False, max_steps=20, batch_size=16, **QUIET)
        found |= prefixed("adapted", answers(adapted, query))
        found["adapted_evaluate"] = adapted.evaluate(query, "cell_type").to_numpy(dtype=float)
    return found


def tiny() -> dict[str, np.ndarray]:
    """The model of ``conftest.tiny_model``."""
    model = tiny_model()
    model.train(pretrain_epochs=3, max_epochs=30, lr=1e-2, batch_size=32, **QUIET)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        loaded = hrca.HRCA.load(Path(folder) / "model")
        reloaded = answers(loaded, shuffled_query())
    return describe(model, shuffled_query()) | prefixed("reloaded", reloaded)


def plateau() -> dict[str, np.ndarray]:
    """Both phases by themselves, on the specification's schedule, interrupted and resumed, masked."""
    model = tiny_model()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"batch_size": 32, "checkpoint_dir": folder, "checkpoint_interval": 2, **QUIET}
        model.pretrain(4, corruption="mask", lr_hold_epochs=1, lr_patience=1, **settings)
        model = tiny_model()
        model.pretrain(4, corruption="mask", lr_hold_epochs=1, lr_patience=1, resume=True, **settings)
        model.finetune(
            5, lr=1e-2, lr_hold_epochs=1, lr_patience=1, freeze_encoder_epochs=2, encoder_lr=1e-3, **settings
        )
    history = {name: frame.to_numpy().ravel() for name, frame in model.history.items()}
    return describe(model, shuffled_query(), adapt=False) | prefixed("history", history)


def matched() -> dict[str, np.ndarray]:
    """Training matched to a query."""
    query = shuffled_query()
    model = tiny_model()
    model.train(pretrain_epochs=2, max_epochs=12, query=query, lr=1e-2, batch_size=32, **QUIET)
    return describe(model, query)


def folds() -> dict[str, np.ndarray]:
    """Cross-fitting."""
    model = tiny_model()
    model.train(pretrain_epochs=2, max_epochs=12, n_folds=3, lr=1e-2, batch_size=32, **QUIET)
    return describe(model, shuffled_query(), adapt=False)


def networks() -> dict[str, np.ndarray]:
    """Without the count branch."""
    model = tiny_model(count_likelihood=False)
    model.train(pretrain_epochs=2, max_epochs=12, lr=1e-2, batch_size=32, **QUIET)
    return describe(model, shuffled_query())


def hierarchy() -> dict[str, np.ndarray]:
    """Back-off and levels along a tree of labels, and a new classifier on the Gene-AE."""
    parents = {"type 0": "even", "type 2": "even"}
    model = tiny_model(labels_hierarchy=parents)
    model.train(pretrain_epochs=2, max_epochs=12, lr=1e-2, batch_size=32, **QUIET)
    query = shuffled_query()
    found = prefixed("level", answers(model, query, level=0))
    found |= prefixed("backed_off", answers(model, query, min_confidence=0.9, novelty_fpr=0.2))
    found["evaluate"] = model.evaluate(query, "cell_type").to_numpy(dtype=float)
    scvi.settings.seed = 0
    new = hrca.HRCA.from_pretrained(model, synthetic(90, seed=5), "cell_type")
    new.finetune(8, lr=1e-2, batch_size=32, **QUIET)
    return found | prefixed("new", answers(new, query))


def _pair(reference: str, query: str, labels_key: str, n_genes: int, steps: tuple[int, int]) -> dict[str, np.ndarray]:
    reference, query = (hrca.datasets.local(name, DATA) for name in (reference, query))
    reference, query = (adata[adata.obs[labels_key].astype(str) != ""].copy() for adata in (reference, query))
    genes = reference.var_names[reference.var_names.isin(query.var_names)]
    depth = pd.Series(np.asarray(reference[:, genes].X.sum(axis=0)).ravel(), index=genes)
    genes = depth.sort_values(kind="stable").index[-n_genes:]
    reference = reference[:: steps[0], reference.var_names.isin(genes)].copy()
    query = query[:: steps[1], query.var_names.isin(genes)].copy()
    for adata in (reference, query):
        adata.obs["cell_type"] = adata.obs[labels_key].astype(str).astype("category")
    scvi.settings.seed = 0
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    model = hrca.HRCA(reference, size="laptop")
    model.train(pretrain_epochs=3, max_epochs=6, **QUIET)
    found = prefixed("plain", answers(model, query, coverage=0.9))
    found |= prefixed("alone", answers(model, query, platform_correction=False))
    if query.obs["cell_type"].isin(model.labels).any():
        found["evaluate"] = model.evaluate(query, "cell_type").to_numpy(dtype=float)
    adapted = model.adapt(query, select=False, max_steps=20, **QUIET)
    return found | prefixed("adapted", answers(adapted, query))


def hypothalamus() -> dict[str, np.ndarray]:
    """scRNA-seq -> MERFISH."""
    return _pair("poa_scrna_moffitt", "poa_merfish_b0.06", "label_harmonised", 2000, (2, 12))


def blood() -> dict[str, np.ndarray]:
    """FACS labels -> cluster labels, deep cells."""
    return _pair("pbmc_facs_zheng", "pbmc3k", "label_harmonised", 1500, (5, 7))


def breast() -> dict[str, np.ndarray]:
    """A reference of blood on a section of breast cancer: most types are missing."""
    return _pair("pbmc3k", "xenium_breast", "cell_type", 2000, (4, 25))


TINY_CASES: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    case.__name__: case for case in (tiny, plateau, matched, folds, networks, hierarchy)
}
REAL_CASES: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    case.__name__: case for case in (hypothalamus, blood, breast)
}


def compute(case: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Answers of a case in one thread: sums over threads would differ in their last bits."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            # few cells, and a reference that does not fit: the warnings have tests of their own
            warnings.simplefilter("ignore")
            return case()
    finally:
        torch.set_num_threads(n_threads)


def recorded(name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The recorded answers of a case, and the fingerprint of the machine that recorded them."""
    with np.load(ASSETS / f"{name}.npz") as stored:
        found = {key: stored[key] for key in stored.files}
    return found, json.loads(str(found.pop("fingerprint")))


def record(name: str, found: dict[str, np.ndarray]) -> None:
    """Write the answers of a case."""
    ASSETS.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(ASSETS / f"{name}.npz", fingerprint=json.dumps(fingerprint()), **found)


def differing(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    """Names of the answers that are not the same to the last bit."""
    names = sorted(set(found) | set(expected))
    return [
        name
        for name in names
        if name not in found
        or name not in expected
        or found[name].dtype != expected[name].dtype
        or found[name].shape != expected[name].shape
        or found[name].tobytes() != expected[name].tobytes()
    ]


def main() -> None:
    """Compare or record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    for name in ("lightning.pytorch", "lightning.fabric", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)
    failed = False
    for name, case in (TINY_CASES | REAL_CASES).items():
        if arguments.cases and name not in arguments.cases:
            continue
        found = compute(case)
        if arguments.record:
            record(name, found)
        different = differing(found, recorded(name)[0])
        failed |= bool(different)
        sys.stdout.write(f"{name}: {'the same' if not different else different}\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
