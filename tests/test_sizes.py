"""Named sizes and the estimate of what they cost."""

import inspect

import pytest

import hrca
from hrca._module import GeneAE, HRCAModule, SEClassifier
from hrca._sizes import estimate_epoch_seconds


def module(n_genes: int, **sizes) -> HRCAModule:
    widths = sizes.pop("classifier_widths")
    gene_ae = GeneAE(n_genes=n_genes, dropout_rate=0.1, **sizes)
    return HRCAModule(gene_ae, SEClassifier(n_latent=sizes["n_latent"], n_labels=5, widths=widths, dropout_rate=0.5))


def test_the_documents_size_is_the_default():
    parameters = inspect.signature(hrca.HRCA).parameters
    assert hrca.SIZES["document"] == {name: parameters[name].default for name in hrca.SIZES["document"]}


@pytest.mark.parametrize("name", hrca.SIZES)
def test_every_size_names_every_size(name):
    assert set(hrca.SIZES[name]) == set(hrca.SIZES["document"])


def test_the_estimate_grows_with_cells_and_weights():
    small, large = module(200, **hrca.SIZES["laptop"]), module(5000, **hrca.SIZES["laptop"])
    cost = lambda network, n_obs: estimate_epoch_seconds(network, n_obs=n_obs, batch_size=128)  # noqa: E731
    assert cost(small, 100_000) > 5 * cost(small, 10_000)
    assert cost(large, 10_000) > 2 * cost(small, 10_000)
