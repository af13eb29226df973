"""Blocks cover all rows once, in order."""

import numpy as np
import pytest

from hrca._blocks import row_blocks


@pytest.mark.parametrize(
    ("n_rows", "n_per_block", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 10, [3]), (3, 0, [1, 1, 1]), (0, 4, [])],
    ids=["smaller last block", "whole blocks", "one block", "at least a row", "no rows"],
)
def test_blocks_cover_all_rows(n_rows, n_per_block, sizes):
    blocks = [np.arange(n_rows)[rows] for rows in row_blocks(n_rows, n_per_block)]
    assert [len(block) for block in blocks] == sizes
    np.testing.assert_array_equal(np.concatenate([np.arange(0), *blocks]), np.arange(n_rows))
