"""Digests of counts and labels, by which a changed reference is found."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd

from hrca.typing import StoredMatrix

from ._row_reader import row_blocks

# Bytes of a digest: 16 hexadecimal digits.
DIGEST_BYTES = 8

# Upper bound of the weight of a gene. A cell's weighted sum of up to 1e11 counts is then an exact float64.
MAX_GENE_WEIGHT = 2**16

# Seed of the weights. Any fixed number serves.
WEIGHT_SEED = 0


def counts_digest(counts: StoredMatrix) -> str:
    """Return a digest of counts. It does not depend on how they are stored.

    It is made from two sums of each cell: of the counts, and of the counts times a fixed random weight of each gene.
    Other values, another order of the cells and another order of the genes change it.

    Parameters
    ----------
    counts
        Counts, shape (n_obs, n_genes), sparse or dense, in memory or not. A matrix that is not in memory is read once.

    Returns
    -------
    16 hexadecimal digits.

    Examples
    --------
    >>> counts = np.array([[1, 0], [2, 3]])
    >>> (
    ...     counts_digest(counts) == counts_digest(counts.astype(float)),
    ...     counts_digest(counts) == counts_digest(counts[::-1]),
    ... )
    (True, False)
    """
    n_genes = counts.shape[1]
    weights = np.random.default_rng(WEIGHT_SEED).integers(1, MAX_GENE_WEIGHT, n_genes)
    columns = np.stack([np.ones(n_genes), weights], axis=1)
    digest = blake2b(repr(tuple(counts.shape)).encode(), digest_size=DIGEST_BYTES)
    for _, block in row_blocks(counts):
        digest.update(np.ascontiguousarray(block @ columns, dtype=np.float64).tobytes())
    return digest.hexdigest()


def names_digest(names: Sequence[object] | pd.Series | pd.Index) -> str:
    """Return a digest of names in order, such as the label of each cell: 16 hexadecimal digits."""
    codes, different = pd.factorize(np.asarray(names, dtype=object))
    digest = blake2b(codes.astype("<i8").tobytes(), digest_size=DIGEST_BYTES)
    for name in different:
        encoded = str(name).encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()
