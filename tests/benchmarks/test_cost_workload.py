"""Random counts, and the memory of this process."""

import sys

import numpy as np
import pytest

from benchmarks.cost import memory, workload


def test_random_counts_have_their_density():
    counts = workload.random_counts(1100, 50, 0.1)
    assert counts.shape == (1100, 50)
    assert (np.diff(counts.indptr) == 5).all()
    assert counts.has_canonical_format
    assert counts.data.min() >= 1
    assert (counts != workload.random_counts(1100, 50, 0.1)).nnz == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_that_since_the_reset():
    # glibc keeps freed memory that lies below a block in use, for sizes up to that of the first block freed
    first = np.ones(3_500_000)
    del first
    freed = [np.ones(3_000_000) for _ in range(20)]
    last = np.ones(3_000_000)
    del freed
    before = memory.reset_peak_memory()
    block = np.ones(30_000_000)
    del block
    assert memory.memory_gb("VmHWM") - before > 0.2
    del last
    after = memory.reset_peak_memory()
    assert memory.memory_gb("VmHWM") - after < 0.1
