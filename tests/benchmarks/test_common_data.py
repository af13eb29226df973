"""Pairs of data sets, gene panels and thinning."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from benchmarks.common import data
from benchmarks.common.data import ReferenceQueryPair, total_counts
from benchmarks.common.processes import module_environment
from hrca.module._transforms import thin_sparse


@pytest.fixture
def pair(reference, query) -> ReferenceQueryPair:
    cells = query[:, query.var_names.isin(reference.var_names)].copy()
    cells.obs["cell_type"] = "type 0"
    return ReferenceQueryPair(reference[:, cells.var_names].copy(), cells, "cell_type")


def test_thinning_reaches_the_median(data_dir):
    spec = next(spec for spec in data.PAIRS if spec.is_quick and spec.panel_round)
    pair = data.restrict_to_panel(data.read_pair(spec, data_dir), "300 random", seed=0)
    thinned = data.thin_queries(pair, ("0.1", "100 counts", "30 counts"), seed=0)
    medians = {depth: np.median(total_counts(query)) for depth, query in thinned.items()}
    native = np.median(total_counts(pair.query))
    assert medians == {
        "0.1": pytest.approx(0.1 * native, abs=2),
        "100 counts": pytest.approx(100, abs=3),
        "30 counts": pytest.approx(30, abs=2),
    }


def test_a_median_that_is_not_reached_leaves_the_query_and_is_there_once(pair):
    thinned = data.thin_queries(pair, ("1", "10000 counts", "1000 counts"), seed=0)
    assert list(thinned) == ["1", "1000 counts"]
    assert (thinned["1000 counts"].X != pair.query.X).nnz == 0


def test_other_depths_do_not_change_a_query(pair):
    alone, among_others = data.thin_queries(pair, ("0.3",), 1), data.thin_queries(pair, ("0.1", "0.3"), 1)
    assert (alone["0.3"].X != among_others["0.3"].X).nnz == 0
    assert (alone["0.3"].X != data.thin_queries(pair, ("0.3",), 2)["0.3"].X).nnz > 0


def test_thinned_counts_have_the_fraction_of_each_cell():
    counts = sparse.csr_matrix(np.full((3, 2000), 5.0))
    thinned = data.thin_counts(counts, np.array([0.0, 0.25, 1.0]), np.random.default_rng(0))
    assert thinned.sum(axis=1).ravel().tolist()[0] == [0, pytest.approx(2500, rel=0.05), 10_000]
    assert counts.sum() == 30_000


@pytest.mark.parametrize("kept_fraction", [0.3, np.linspace(0.1, 1, 100)], ids=["one", "by_cell"])
def test_thinning_is_that_of_hrca(reference, kept_fraction):
    thinned = data.thin_counts(reference.X, kept_fraction, np.random.default_rng(0))
    expected = thin_sparse(reference.X, kept_fraction, np.random.default_rng(0))
    np.testing.assert_array_equal(thinned.toarray(), expected.toarray())


def test_a_panel_is_the_same_genes_on_both_sides(pair):
    chosen = data.restrict_to_panel(pair, "20 random", seed=0)
    assert chosen.reference.n_vars == 20
    assert list(chosen.reference.var_names) == list(chosen.query.var_names)
    assert chosen.query.n_obs == pair.query.n_obs
    assert data.restrict_to_panel(pair, f"{pair.query.n_vars} random", seed=0) is None


def test_pairs_are_selected_by_parts_of_their_names():
    assert data.select_pairs([]) == list(data.PAIRS)
    assert [spec.name for spec in data.select_pairs(["BZ9", "poa"])] == [
        "poa_scrna_moffitt -> poa_merfish_b0.06",
        "starmap_mpfc -> BZ9",
    ]


def test_what_baselines_import_does_not_import_hrca():
    modules = ("common.data", "common.baselines.linear", "common.baselines.likelihood", "common.baselines.knn")
    imports = ", ".join(f"benchmarks.{module}" for module in modules)
    code = f"import sys, {imports}; sys.exit('hrca' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=module_environment())
