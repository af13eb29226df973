"""Estimated time of an epoch."""

import numpy as np
import pytest

import hrca
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.train import _runtime_estimate
from hrca.train._runtime_estimate import estimate_epoch_seconds


def module(n_genes: int, **sizes) -> HRCAModule:
    widths = sizes.pop("classifier_widths")
    gene_ae = GeneAE(n_genes=n_genes, dropout_rate=0.1, **sizes)
    return HRCAModule(gene_ae, SEClassifier(n_latent=sizes["n_latent"], n_labels=5, widths=widths, dropout_rate=0.5))


def test_the_estimate_grows_with_cells_and_weights(monkeypatch):
    # at one speed: that of a busy machine differs from call to call
    monkeypatch.setattr(_runtime_estimate, "_operations_per_second", lambda batch_size: 1e11)
    small, large = module(200, **hrca.SIZES["laptop"]), module(5000, **hrca.SIZES["laptop"])
    cost = lambda network, n_obs: estimate_epoch_seconds(network, n_obs=n_obs, batch_size=128)  # noqa: E731
    assert cost(small, 100_000) == pytest.approx(10 * cost(small, 10_000), rel=0.02)
    assert cost(large, 10_000) > 2 * cost(small, 10_000)


def test_the_speed_is_the_median_of_the_products(monkeypatch):
    # the second of five products is much faster, and the first and the last are slower
    ends = np.cumsum([0, 9, 0, 1e-3, 0, 2, 0, 2, 0, 8])
    monkeypatch.setattr(_runtime_estimate.time, "perf_counter", iter(ends).__next__)
    assert _runtime_estimate._operations_per_second(128) == 2 * 128 * 1024**2 / 2


def test_the_speed_of_this_machine_is_measured():
    assert 1e6 < _runtime_estimate._operations_per_second(128) < 1e15
