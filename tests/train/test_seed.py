"""The seed of all generators."""

import os
import random

import numpy as np
import pytest
import scvi
import torch

from hrca.train._random_states import check_seed, set_seed


def test_a_seed_repeats_the_draws_of_each_generator_and_is_kept():
    draws = []
    for _ in range(2):
        set_seed(5)
        draws.append((random.random(), np.random.rand(), float(torch.rand(1))))
    assert draws[0] == draws[1]
    assert scvi.settings.seed == 5


def test_many_seeds_do_not_lengthen_the_environment():
    set_seed(0)
    before = os.environ["XLA_FLAGS"]
    for seed in range(3):
        set_seed(seed)
    assert os.environ["XLA_FLAGS"] == before


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_number_that_is_no_seed_raises(seed):
    for function in (check_seed, set_seed):
        with pytest.raises(ValueError, match=f"`seed` must be from 0 to 4294967295, got {seed}"):
            function(seed)
