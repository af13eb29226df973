"""Pseudo-random numbers that depend on nothing but the name of a cell."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

# A float64 holds integers of up to 53 bits exactly; 48 bits are the whole bytes of these.
HASH_BYTES = 6


def uniform_from_names(names: Iterable[str]) -> np.ndarray:
    """Derive a uniform pseudo-random number from each name.

    The number of a name is the same in each call, in any order and beside any other names.

    Parameters
    ----------
    names
        Names of n_obs cells.

    Returns
    -------
    Numbers in [0, 1), shape (n_obs,).

    Examples
    --------
    >>> uniform_from_names(["AAACCTG", "AAACCTC"]).round(2)
    array([0.77, 0.76])
    """
    hashes = [int.from_bytes(blake2b(str(name).encode(), digest_size=HASH_BYTES).digest()) for name in names]
    return np.array(hashes, dtype=float) / 2 ** (8 * HASH_BYTES)
