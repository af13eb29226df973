"""Thinned reference cells, and their deviance against scipy."""

import numpy as np
import pytest
from scipy import sparse, stats

from hrca.module._deviance import log_or_zero, multinomial_deviance
from hrca.uncertainty._novelty_reference import LeaveOneOutProfiles
from hrca.uncertainty._thinned_reference import thin_reference


@pytest.fixture
def reference() -> tuple[np.ndarray, np.ndarray, LeaveOneOutProfiles]:
    """Counts and codes of 60 cells of three labels, one without counts, and the profiles of the labels."""
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    x = rng.poisson(rng.gamma(0.7, 3, (3, 25))[codes]).astype(np.float32)
    x[7] = 0
    sums = np.stack([x[codes == label].sum(axis=0) for label in range(3)])
    return x, codes, LeaveOneOutProfiles(sums, np.ones(25, dtype=np.float32))


def deviance_by_scipy(x: np.ndarray, profiles: np.ndarray) -> float:
    """Twice the difference between the log-likelihoods of the saturated model and of the best profile."""
    n, best = int(x.sum()), max(stats.multinomial.logpmf(x, int(x.sum()), p.astype(float)) for p in profiles)
    return 2 * (stats.multinomial.logpmf(x, n, x.astype(float) / n) - best)


def test_the_deviance_is_that_of_scipys_multinomials(reference):
    x, _, profiles = reference
    by_label = profiles.by_label().astype(float)
    by_label /= by_label.sum(axis=1, keepdims=True)
    counts = sparse.csr_array(x)
    depth, deviance = multinomial_deviance(counts, counts @ np.log(by_label).T)
    np.testing.assert_array_equal(depth, x.sum(axis=1))
    for cell in np.flatnonzero(depth):
        assert deviance[cell] == pytest.approx(deviance_by_scipy(x[cell], by_label), rel=1e-5, abs=1e-5)


def test_the_deviance_of_a_reference_cell_leaves_it_out_of_its_own_profile(reference):
    x, codes, profiles = reference
    thinned = thin_reference(sparse.csr_array(x), codes, profiles, np.array([1e9]))
    # eight draws each, all of them as deep as the cell
    np.testing.assert_array_equal(np.sort(thinned.cells), np.repeat(np.delete(np.arange(60), 7), 8))
    np.testing.assert_array_equal(thinned.counts.toarray(), x[thinned.cells])
    without = profiles.without_cells(x, codes)
    for row in range(0, 300, 7):
        cell = thinned.cells[row]
        by_label = profiles.by_label().astype(float)
        by_label[codes[cell]] = without[cell]
        by_label /= by_label.sum(axis=1, keepdims=True)
        assert thinned.deviance[row] == pytest.approx(deviance_by_scipy(x[cell], by_label), rel=1e-4)


def test_depths_do_not_depend_on_the_cells_own(reference):
    x, codes, profiles = reference
    thinned = thin_reference(sparse.csr_array(10 * x), codes, profiles, np.array([20.0, 40.0]))
    counts = thinned.counts.toarray()
    np.testing.assert_array_equal(thinned.depth, counts.sum(axis=1))
    assert (counts <= 10 * x[thinned.cells]).all()
    assert thinned.depth.mean() == pytest.approx(30, rel=0.05)
    deep = (10 * x[thinned.cells]).sum(axis=1) > np.median(10 * x.sum(axis=1))
    assert thinned.depth[deep].mean() == pytest.approx(thinned.depth[~deep].mean(), rel=0.1)


def test_cells_without_counts_are_dropped(reference):
    x, codes, profiles = reference
    assert len(thin_reference(sparse.csr_array(0 * x), codes, profiles, np.array([20.0])).depth) == 0


def test_the_log_of_a_gene_that_is_not_used_is_0():
    np.testing.assert_allclose(log_or_zero(np.array([[0.0, 1.0], [0.5, 0.5]])), [[0, 0], [np.log(0.5)] * 2])
