"""Blocks of cells that are written together."""

import numpy as np
import pytest

from hrca.model._dask_tasks import divide_into_blocks


@pytest.mark.parametrize("sizes", [(5,), (4, 4, 2), (1, 7, 3, 3), (3, 0, 2, 9, 0), (2, 9, 9, 9, 1)])
def test_each_cell_is_in_one_block(sizes):
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    n_block, blocks = divide_into_blocks(bounds)
    assert n_block == max(sizes)
    cells = np.split(np.arange(bounds[-1]), bounds[1:-1])
    for i, block in enumerate(blocks):
        assert block.start == i * n_block
        rows = np.concatenate([cells[chunk][part] for chunk, part in zip(block.chunks, block.slices, strict=True)])
        np.testing.assert_array_equal(rows, np.arange(block.start, min(block.start + n_block, bounds[-1])))
        assert all(part.stop > part.start for part in block.slices)
