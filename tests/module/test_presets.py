"""Named sizes of the networks."""

import inspect
import re

import pytest

import hrca
from hrca.module._presets import SIZES, check_sizes


def test_the_size_of_the_specification_is_the_default():
    parameters = inspect.signature(hrca.HRCA).parameters
    assert SIZES["document"] == {name: parameters[name].default for name in SIZES["document"]}


@pytest.mark.parametrize("name", SIZES)
def test_every_preset_has_all_sizes_and_is_valid(name):
    assert set(SIZES[name]) == set(SIZES["document"])
    first = ("n_latent", "n_heads", "classifier_widths")
    others = [size for key, size in SIZES[name].items() if key not in first]
    check_sizes(*(SIZES[name][key] for key in first), *others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 2, ()), "`classifier_widths` must have at least one stage"),
        ((8, 0, (4,)), "Sizes must be at least 1, got (8, 0, 4)"),
        ((8, 2, (4, 0)), "Sizes must be at least 1, got (8, 2, 4, 0)"),
        ((8, 2, (4,), 16, 0), "Sizes must be at least 1, got (8, 2, 4, 16, 0)"),
        ((10, 4, (4,)), "`n_latent` must be a multiple of `n_heads`, got 10 and 4; 8 would do"),
        ((2, 4, (4,)), "got 2 and 4; 4 would do"),
    ],
)
def test_sizes_that_define_no_network_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_sizes(*arguments)
