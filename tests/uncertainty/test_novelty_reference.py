"""The reference of novelty: sampled cells, and profiles that leave one cell out."""

import numpy as np
import pytest
from scipy import sparse

from hrca.uncertainty._novelty_reference import LeaveOneOutProfiles, NoveltyReference, build_novelty_reference


def labelled(n: int, seed: int = 0, n_genes: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Counts of cells of four labels; a fifth of the cells has none."""
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.5, 2, n_genes), (n, n_genes)).astype(np.float32), rng.integers(5, size=n)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_sums_and_sampled_cells_are_those_of_labelled_cells(container):
    x, codes = labelled(60)
    reference = build_novelty_reference(container(x), codes, 4, 123.4)
    for label in range(4):
        np.testing.assert_array_equal(reference.sums[label], x[codes == label].sum(axis=0))
    np.testing.assert_array_equal(reference.counts.toarray(), x[codes < 4])
    np.testing.assert_array_equal(reference.codes, codes[codes < 4])
    assert reference.max_depth == np.float32(123.4)


def test_at_most_2000_cells_are_sampled_and_all_are_summed():
    x, codes = labelled(3200)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 1e9)
    assert len(reference.codes) == reference.counts.shape[0] == 2000
    np.testing.assert_allclose(reference.sums.sum(axis=0), x[codes < 4].sum(axis=0), rtol=1e-5)
    # a sample of cells in their order, each with its own label
    rows = {row.tobytes(): code for row, code in zip(x, codes, strict=True)}
    assert all(
        rows[row.tobytes()] == code for row, code in zip(reference.counts.toarray(), reference.codes, strict=True)
    )


def test_a_reference_survives_a_dictionary_of_arrays():
    x, codes = labelled(60)
    reference = build_novelty_reference(sparse.csr_array(x), codes, 4, 77.7)
    arrays = reference.to_dict()
    assert set(arrays) == {"sums", "data", "indices", "indptr", "codes", "max_depth"}
    assert all(type(values) is np.ndarray for values in arrays.values())
    restored = NoveltyReference.from_dict(arrays)
    np.testing.assert_array_equal(restored.sums, reference.sums)
    np.testing.assert_array_equal(restored.counts.toarray(), reference.counts.toarray())
    np.testing.assert_array_equal(restored.codes, reference.codes)
    assert restored.max_depth == reference.max_depth
    assert restored.counts.shape == reference.counts.shape


def profiles_in_a_loop(x: np.ndarray, codes: np.ndarray, gene_mask: np.ndarray) -> np.ndarray:
    """Profiles of four labels, with pseudocounts in proportion to the mean profile."""
    genes = np.flatnonzero(gene_mask)
    total = {gene: x[:, gene].sum() + 0.5 for gene in genes}
    profiles = np.zeros((4, x.shape[1]))
    for label in range(4):
        for gene in genes:
            mean = total[gene] / sum(total.values())
            profiles[label, gene] = x[codes == label, gene].sum() + 0.3 * len(genes) * mean
        profiles[label] /= profiles[label].sum()
    return profiles


@pytest.mark.parametrize("used", [30, 20])
def test_profiles_equal_a_loop_with_and_without_a_cell(used):
    x, codes = labelled(14, seed=1)
    x, codes = x[codes < 4], codes[codes < 4]
    gene_mask = (np.arange(30) < used).astype(np.float32)
    x *= gene_mask
    profiles = LeaveOneOutProfiles(np.stack([x[codes == i].sum(axis=0) for i in range(4)]), gene_mask)
    np.testing.assert_allclose(profiles.by_label(), profiles_in_a_loop(x, codes, gene_mask), rtol=1e-5)
    without = profiles.without_cells(x, codes)
    for cell in range(len(x)):
        others = np.arange(len(x)) != cell
        expected = profiles_in_a_loop(x[others], codes[others], gene_mask)[codes[cell]]
        np.testing.assert_allclose(without[cell], expected, rtol=1e-5)
    assert (without[:, used:] == 0).all()
