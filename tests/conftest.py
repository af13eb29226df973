"""What the tests share: a synthetic reference and query, a trained model, the folders with real data and goldens."""

import copy
import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from scipy import sparse
from scipy.special import log_softmax, softmax

import hrca
from hrca.model._registration import weights_fingerprint
from hrca.module._calibration import Calibration

# unlike a fixture of this file, it also serves the examples in src
pytest_plugins = ["figures"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
TINY = {
    "n_hidden": 32,
    "n_latent": 16,
    "n_heads": 4,
    "n_layers": 1,
    "n_feedforward": 32,
    "classifier_widths": (16, 8),
}
QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def seed(monkeypatch):
    """Give every test the same randomness."""
    # scvi-tools makes this variable longer with each seed; after some thousand tests, no process could be started
    monkeypatch.setenv("XLA_FLAGS", "")
    scvi.settings.seed = 0


def synthetic(n_obs: int, n_genes: int = 60, n_labels: int = 3, seed: int = 0) -> ad.AnnData:
    """Poisson counts of labelled cells; each label has its own 10 high genes."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n_obs) % n_labels
    rates = np.full((n_labels, n_genes), 0.3)
    for label in range(n_labels):
        rates[label, label * 10 : label * 10 + 10] = 4
    return ad.AnnData(
        sparse.csr_matrix(rng.poisson(rates[codes]).astype(np.float32)),
        obs=pd.DataFrame({"cell_type": [f"type {code}" for code in codes]}, index=[f"cell{i}" for i in range(n_obs)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )


def calibrated_by_hand(calibration: Calibration, logits: np.ndarray, depth: float) -> np.ndarray:
    """The probabilities of one cell, as decision 4 has them."""
    slopes, bias, mixing, stray, ends = (x.double().numpy() for x in calibration.buffers())
    said = log_softmax(logits)
    x, c = np.log(np.clip(depth, *ends) / 100), said.max()
    temperature = slopes[0] + slopes[1] * x + slopes[2] * x**2 + slopes[3] * c + slopes[4] * c * x
    drawn = [sum(mixing[i, j] * max(said[j], -8) for j in range(len(said))) for i in range(len(said))]
    scores = said / np.exp(np.clip(temperature, -3, 3)) + bias[0] + bias[1] * x + drawn
    return (1 - stray) * softmax(scores) + stray / len(said)


@pytest.fixture
def reference() -> ad.AnnData:
    """100 labelled cells x 60 genes."""
    return synthetic(100)


@pytest.fixture
def query() -> ad.AnnData:
    """37 cells of other draws, unlabelled: 45 of the reference's genes and 5 of their own, shuffled; one cell empty."""
    rng = np.random.default_rng(1)
    adata = synthetic(37, n_genes=65, seed=2)
    genes = rng.permutation(np.r_[0:45, 60:65])
    adata = adata[:, genes].copy()
    del adata.obs["cell_type"]
    counts = adata.X.tolil()
    counts[5] = 0
    adata.X = counts.tocsr()
    return adata


@pytest.fixture(scope="session")
def tiny_model() -> hrca.HRCA:
    """A trained model; read only."""
    scvi.settings.seed = 0
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(pretrain_epochs=3, max_epochs=30, lr=1e-2, batch_size=32, **QUIET)
    return model


@pytest.fixture(scope="session")
def tiny_networks(tiny_model) -> hrca.HRCA:
    """The same without count branch and calibration; read only."""
    networks = copy.copy(tiny_model)
    networks.module = copy.deepcopy(tiny_model.module)
    networks.module.count_likelihood, networks.module.calibration = None, Calibration(len(tiny_model.labels))
    networks.model_id_ = weights_fingerprint(networks.module)
    return networks


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        pytest.skip(f"{what} not there: {path}")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder with the published modules' golden outputs."""
    return _folder(SHARED / "golden", "golden outputs")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real labelled data sets."""
    return _folder(Path(os.environ.get("HRCA_DATA_DIR", SHARED / "data")), "real data")
