"""Summary of a query's fit to the reference, against NumPy."""

import numpy as np
import pytest
from scipy import sparse
from simulated import labelled_counts, profiles_in_a_loop

from hrca.data._reference_cells import ReferenceCells
from hrca.module._module import N_DEPTH_QUANTILES
from hrca.train._query_matching import QueryMatch, summarize_query_match


@pytest.fixture
def labelled() -> tuple[np.ndarray, np.ndarray]:
    return labelled_counts()


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_the_summary_equals_what_numpy_counts(labelled, container):
    counts, codes = labelled
    present = np.arange(12) < 7
    query_depth = np.random.default_rng(4).poisson(6.0, 200).astype(np.float32)
    query_depth[:3] = 0
    # three labels: the cell of code 3 is unlabelled
    reference = ReferenceCells(container(counts), codes, 3)
    quantiles, match = summarize_query_match(reference, present, query_depth)

    with_counts = query_depth[query_depth > 0]
    assert quantiles.dtype == np.float32
    np.testing.assert_allclose(quantiles, np.percentile(with_counts, range(101)))
    assert len(quantiles) == N_DEPTH_QUANTILES
    profiles = profiles_in_a_loop(counts[codes < 3], codes[codes < 3], 3)
    terms = profiles * np.log(profiles / profiles.mean(axis=0))
    depth = counts[:, :7].sum(axis=1)
    assert match.to_dict() == pytest.approx(
        {
            "n_shared_genes": 7,
            "n_genes": 12,
            "shared_information": terms[:, :7].sum() / terms.sum(),
            "query_depth": np.median(with_counts),
            "reference_depth": np.median(depth),
            "kept_fraction": np.mean([min(1, np.median(with_counts) / max(one, 1)) for one in depth]),
        }
    )
    assert QueryMatch.from_dict(match.to_dict()) == match


def test_a_reference_without_labels_has_no_information(labelled):
    counts, _ = labelled
    reference = ReferenceCells(counts, np.zeros(len(counts), dtype=int), 0)
    _, match = summarize_query_match(reference, np.ones(12, dtype=bool), np.array([3.0]))
    assert np.isnan(match.shared_information)
    assert match.query_depth == 3


def test_the_match_in_words():
    assert QueryMatch(1, 20, 0.9, 114.0, 1900.4, 0.8).sentence() == (
        "1 of 20 genes is shared, with 90% of the information about the labels. On these, the median cell of the query "
        "has 114 counts, and that of the reference 1,900."
    )


def test_a_query_without_counts_cannot_be_matched(labelled):
    reference = ReferenceCells(*labelled, 4)
    with pytest.raises(ValueError, match="must have cells with counts.*none has"):
        summarize_query_match(reference, np.ones(12, dtype=bool), np.zeros(5))
