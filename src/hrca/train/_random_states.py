"""States of all random generators that training draws from."""

import random
from typing import Any, cast

import numpy as np
import scvi
import torch


def set_seed(seed: int) -> None:
    """Seed all generators through scvi-tools; the seed stays its setting."""
    scvi.settings.seed = seed


def get_random_states() -> dict[str, Any]:
    """Return the states of the generators of torch, CUDA, numpy and Python, as plain values."""
    algorithm, keys, position, has_gauss, gauss = cast("tuple", np.random.get_state())
    version, words, next_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
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
