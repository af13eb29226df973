"""Named sizes of the networks."""

import re

import numpy as np
import pytest
from conftest import QUIET

import hrca
from hrca.module._presets import SIZES, check_sizes, resolve_sizes


@pytest.mark.parametrize(("has_accelerator", "expected"), [(True, "specification"), (False, "laptop")])
def test_auto_is_the_specifications_size_where_an_accelerator_is_at_hand(has_accelerator, expected):
    assert resolve_sizes("auto", {}, has_accelerator=has_accelerator) == (expected, SIZES[expected])


def test_single_numbers_replace_those_of_the_size():
    name, sizes = resolve_sizes("workstation", {"n_layers": 1, "n_hidden": None}, has_accelerator=True)
    assert name == "workstation"
    assert sizes == {**SIZES["workstation"], "n_layers": 1}


@pytest.mark.parametrize("size", ["tablet", "Laptop", ""])
def test_an_unknown_size_is_an_error_that_lists_the_known(size):
    with pytest.raises(ValueError, match=r"one of \['specification', 'workstation', 'laptop'\] or 'auto', got"):
        resolve_sizes(size, {}, has_accelerator=False)


def test_a_model_keeps_the_numbers_of_its_size_on_another_machine(reference, tmp_path, monkeypatch, caplog):
    hrca.HRCA.setup_anndata(reference, labels_key="cell_type")
    monkeypatch.setattr("hrca.model._model.uses_accelerator", lambda _: False)
    with caplog.at_level("INFO", logger="hrca"):
        model = hrca.HRCA(reference, n_layers=1)
    assert "Size 'laptop': n_hidden: 512, n_latent: 128, n_heads: 8, n_layers: 1" in caplog.text
    model.pretrain(1, **QUIET)
    model.save(tmp_path / "model")
    monkeypatch.setattr("hrca.model._model.uses_accelerator", lambda _: True)
    caplog.clear()
    with caplog.at_level("INFO", logger="hrca"):
        loaded = hrca.HRCA.load(tmp_path / "model")
    assert "Size" not in caplog.text
    assert loaded.module.gene_ae.sizes == model.module.gene_ae.sizes
    assert loaded.module.gene_ae.sizes["n_layers"] == 1
    np.testing.assert_array_equal(
        loaded.get_latent_representation(reference), model.get_latent_representation(reference)
    )


@pytest.mark.parametrize("name", SIZES)
def test_every_preset_has_all_sizes_and_is_valid(name):
    assert set(SIZES[name]) == set(SIZES["specification"])
    first = ("n_latent", "n_heads", "classifier_widths")
    others = {key: size for key, size in SIZES[name].items() if key not in first}
    check_sizes(*(SIZES[name][key] for key in first), **others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 2, ()), "`classifier_widths` must have at least one stage"),
        ((8, 0, (4,)), "`n_heads` must be at least 1, got 0"),
        ((8, 2, (4, 0)), "Each of `classifier_widths` must be at least 1, got (4, 0)"),
        ((10, 4, (4,)), "`n_latent` must be a multiple of `n_heads`, got 10 and 4; 8 would do"),
        ((2, 4, (4,)), "got 2 and 4; 4 would do"),
    ],
)
def test_sizes_that_define_no_network_raise(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_sizes(*arguments)


def test_further_sizes_are_checked():
    with pytest.raises(ValueError, match="`n_layers` must be at least 1, got 0"):
        check_sizes(8, 2, (4,), n_hidden=16, n_layers=0)
    with pytest.raises(ValueError, match="`n_layers` must be at least 1, got 0"):
        resolve_sizes("laptop", {"n_layers": 0}, has_accelerator=False)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["dropout_rate", "classifier_dropout_rate"])
def test_a_dropout_rate_that_is_no_fraction_raises(reference, name, rate):
    with pytest.raises(ValueError, match=f"`{name}` must be from 0 to 1, got {rate}"):
        hrca.HRCA(reference, size="laptop", **{name: rate})
