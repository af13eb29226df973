"""Golden parameters and numbers of the published code, for our networks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from hrca.compat._state_keys import GENE_AE_KEYS, SE_CLASSIFIER_KEYS
from hrca.module._networks import GeneAE, SEClassifier

GOLDEN_WIDTHS = (512, 256, 128, 64)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-5}


def recipe(golden_dir: Path) -> ModuleType:
    """Import the recipe that stands beside the golden outputs."""
    spec = importlib.util.spec_from_file_location("golden_recipe", golden_dir / "golden_recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def our_key(key: str, table: dict[str, str], n_stages: int) -> str:
    """Translate one published state-dict key."""
    layer, kind = key.rsplit(".", 1)
    rows = {old.format(i=i): new.format(i=i) for old, new in table.items() for i in range(n_stages)}
    rows[f"SEres.{n_stages}"] = "output"
    return f"{rows[layer]}.{kind}"


def gene_ae(golden_dir: Path, name: str, *, n_genes: int, n_heads: int, n_layers: int, dtype: torch.dtype) -> GeneAE:
    """Our Gene-AE with golden parameters."""
    network = GeneAE(
        n_genes=n_genes,
        n_hidden=5000,
        n_latent=1024,
        n_heads=n_heads,
        n_layers=n_layers,
        n_feedforward=2048,
        dropout_rate=0.1,
    ).to(dtype)
    state = recipe(golden_dir).torch_state(name, dtype)
    network.load_state_dict({our_key(key, GENE_AE_KEYS, n_layers): value for key, value in state.items()})
    return network


def se_classifier(golden_dir: Path, dtype: torch.dtype) -> SEClassifier:
    """Our SE-Classifier with golden parameters: 7 labels, the published number of stages."""
    network = SEClassifier(n_latent=1024, n_labels=7, widths=GOLDEN_WIDTHS, dropout_rate=0.5).to(dtype)
    state = recipe(golden_dir).torch_state("se_classifier_c7_n3", dtype)
    n_stages = len(GOLDEN_WIDTHS)
    network.load_state_dict({our_key(key, SE_CLASSIFIER_KEYS, n_stages): value for key, value in state.items()})
    return network


def close(ours: torch.Tensor, golden: np.ndarray, dtype: torch.dtype) -> None:
    """Assert that numbers equal golden ones as far as the precision allows."""
    np.testing.assert_allclose(ours.detach().numpy(), golden, rtol=0, atol=TOLERANCE[dtype])
