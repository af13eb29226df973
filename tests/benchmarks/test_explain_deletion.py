"""The benchmark that deletes genes: what it deletes, and what its recorded rows say."""

import numpy as np
import pandas as pd
from conftest import synthetic

from benchmarks.common.results import DOCS, RESULTS
from benchmarks.explain import deletion


def test_chosen_cells_have_a_label_and_enough_genes():
    query = synthetic(50)
    query.X = query.X.tolil()[:].tocsr()
    is_labelled = np.arange(50) % 2 == 0
    cells = deletion.choose_cells(query, is_labelled, np.random.default_rng(0))
    assert is_labelled[cells].all()
    assert (np.diff(query.X.indptr)[cells] >= deletion.MIN_EXPRESSED).all()
    assert (np.diff(cells) > 0).all()


def test_genes_are_deleted_in_a_copy_and_in_the_chosen_cells_alone():
    query = synthetic(6)
    before = query.X.toarray().copy()
    changed = deletion.delete_genes(query, np.array([1, 4]), [np.array([0, 2]), np.array([7])])
    expected = before.copy()
    expected[1, [0, 2]], expected[4, 7] = 0, 0
    np.testing.assert_array_equal(changed.X.toarray(), expected)
    np.testing.assert_array_equal(query.X.toarray(), before)


def test_top_genes_are_those_of_all_branches_together_that_speak_for_the_label():
    query = synthetic(2)
    rows = [("gene3", 1.0), ("gene3", 1.0), ("gene5", 1.5), ("gene7", -4.0), ("(other genes)", 9.0)]
    table = pd.DataFrame([("cell1", *row) for row in rows], columns=["cells", "gene", "contribution"])
    [top] = deletion.top_genes(table, query, np.array([1]))
    assert list(top) == [3, 5]


def test_a_model_is_measured(tiny_model):
    row = deletion.measure(tiny_model, synthetic(60, seed=7), 0)
    assert row["n_cells"] == 60
    assert row["top_drop"] > 3 * row["random_drop"]
    assert row["within_5_percent"] > 0.9
    assert 0 < row["flipped"] <= 1


def test_the_recorded_rows_reach_what_the_page_says():
    rows = pd.read_csv(RESULTS / "explain" / "deletion.csv")
    is_asked = rows["pair"].str.contains("pbmc|starmap")
    assert is_asked.sum() >= 4
    assert (rows.loc[is_asked, "top_drop"] > 3 * rows.loc[is_asked, "random_drop"].abs()).all()
    assert (rows.loc[is_asked, "error_median"] < 0.05).all()
    page = pd.read_csv(DOCS / "benchmarks" / "deletion.csv", dtype=str)
    pd.testing.assert_frame_equal(page, deletion.summarize(rows).reset_index(drop=True).astype(str), check_dtype=False)
