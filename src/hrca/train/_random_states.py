"""States of all random generators that training draws from."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scvi
import torch

# scvi-tools 1.4.2 adds this flag to XLA_FLAGS with each seed. A variable of 128 kB keeps processes from being started.
XLA_FLAG = "--xla_gpu_deterministic_ops=true"

# `numpy.random.seed` takes no larger one.
MAX_SEED = 2**32 - 1


def check_seed(seed: int) -> None:
    """Raise an error if a number cannot be a seed.

    Raises
    ------
    ValueError
        If it is below 0 or above 2**32 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"`seed` must be from 0 to {MAX_SEED}, got {seed}.")


def set_seed(seed: int) -> None:
    """Seed all generators through scvi-tools; the seed stays its setting.

    Raises
    ------
    ValueError
        As :func:`check_seed`.
    """
    check_seed(seed)
    flags = os.environ.get("XLA_FLAGS", "")
    scvi.settings.seed = seed
    if XLA_FLAG in flags:
        os.environ["XLA_FLAGS"] = flags


@dataclass(frozen=True)
class RandomStream:
    """The random numbers of a model, which a later training continues.

    Attributes
    ----------
    found
        States of the generators before the model's last training, and after it.
    last
        The states that this training ended with.
    """

    found: dict[str, Any]
    last: dict[str, Any]


@contextmanager
def private_generators(stream: RandomStream | None = None) -> Iterator[None]:
    """Leave the generators as they were found.

    Parameters
    ----------
    stream
        Random numbers to continue if the generators are as its training found them, so that a second phase does not
        draw the numbers of the first. Where a user has seeded or drawn since, the generators' own are drawn.
    """
    had_cuda = torch.cuda.is_initialized()
    found = get_random_states()
    if stream is not None and _are_equal(stream.found, found):
        set_random_states(stream.last)
    try:
        yield
    finally:
        set_random_states(found)
        if torch.cuda.is_initialized() and not had_cuda:
            # a CUDA generator that is not yet there has the seed of the CPU's
            torch.cuda.manual_seed_all(torch.initial_seed())


def get_random_states() -> dict[str, Any]:
    """Return the states of the generators of torch, CUDA, numpy and Python, as plain values."""
    algorithm, keys, position, has_gauss, gauss = cast("tuple", np.random.get_state())
    version, words, next_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        # reading the states of devices that are not in use would initialise them, and forbid forked processes
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [algorithm, keys.tolist(), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(words), next_gauss],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Restore the states that :func:`get_random_states` returned."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    algorithm, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((algorithm, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, words, next_gauss = states["python"]
    random.setstate((version, tuple(words), next_gauss))


def _are_equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether the generators that training draws from have the same states."""
    devices = len(first["cuda"]) == len(second["cuda"])
    states = zip([first["torch"], *first["cuda"]], [second["torch"], *second["cuda"]], strict=False)
    return devices and first["numpy"] == second["numpy"] and all(torch.equal(one, other) for one, other in states)
