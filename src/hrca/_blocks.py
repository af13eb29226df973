"""Blocks of rows, so that temporary arrays stay small."""

# Number of cells whose values by label are in memory at once. Any number serves.
BLOCK_CELLS = 16_384

# Bytes of an array that is computed at once, so that the cache holds it.
CACHED_BYTES = 262_144


def row_blocks(n_rows: int, n_per_block: int) -> list[slice]:
    """Return slices that divide rows into blocks, the last of which may be smaller.

    Parameters
    ----------
    n_rows
        Number of rows.
    n_per_block
        Number of rows of a block; a number below 1 counts as 1.

    Examples
    --------
    >>> row_blocks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, n_per_block)
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]
