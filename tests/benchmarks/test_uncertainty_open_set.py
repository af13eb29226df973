"""The open-set benchmark: the types that it leaves out, and its scores."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from benchmarks.common.results import RESULTS, Table
from benchmarks.uncertainty import open_set

SPEC = next(spec for spec in open_set.PAIRS if spec.name == "pbmc3k -> pbmc_kang_small")


def test_the_types_that_are_left_out_are_those_of_the_query_and_of_the_reference(data_dir):
    whole = open_set.OpenCase(SPEC, "none", 0).read(data_dir)
    counts = whole.query.obs[whole.labels_key][whole.is_known_label].value_counts()
    for left_out, n_types in (("commonest", 1), ("two commonest", 2), ("middle", 1), ("half", len(counts) // 2)):
        pair = open_set.OpenCase(SPEC, left_out, 0).read(data_dir)
        missing = set(whole.reference.obs[whole.labels_key]) - set(pair.reference.obs[whole.labels_key])
        assert len(missing) == n_types
        assert missing <= set(counts.index)
        assert pair.query.n_obs == whole.query.n_obs
        if left_out == "commonest":
            assert counts[list(missing)].item() == counts.max()


def test_the_xenium_query_alone_has_the_types_that_the_reference_has(data_dir):
    pair = open_set.OpenCase(open_set.XENIUM, open_set.ALONE, 0).read(data_dir)
    assert set(pair.query.obs["cell_type"]) == {"T cells", "B cells"}
    assert set(open_set.XENIUM_TYPES) <= set(pair.reference.obs["cell_type"])
    assert pair.reference.n_vars == 230


def test_each_case_has_a_model_of_its_own_but_the_xenium_cells_alone():
    cases = list(open_set.cases([], 2))
    names = [case.model_name for case in cases]
    assert len(names) == 2 * (5 * len(open_set.PAIRS) + 2)
    assert len(set(names)) == len(names) - 2
    # a model that knows all types gives the F1 that decides which are separable
    for spec in open_set.PAIRS:
        first = next(case for case in cases if case.spec is spec)
        assert first.left_out == "none"


def labelled_query() -> tuple[AnnData, np.ndarray]:
    """Two cells of a, right and confident; one of b, wrong; two of c, which the model does not know."""
    types = np.array(["a", "a", "b", "c", "c"])
    query = AnnData(sparse.csr_matrix((5, 1), dtype=np.float32))
    query.obs["hrca"] = ["a", "a", "a", "b", "b"]
    query.obs["hrca_confidence"] = [0.95, 0.95, 0.6, 0.95, 0.3]
    query.obs["hrca_novelty"] = [0.1, 0.2, 0.3, 0.99, 0.5]
    query.obs["hrca_novel_probability"] = [0.0, 0.0, 0.1, 0.05, 0.7]
    sets = [[True, False], [True, False], [True, True], [False, True], [False, False]]
    query.obsm["hrca_set"] = pd.DataFrame(sets, index=query.obs_names, columns=["a", "b"])
    query.uns["hrca"] = {"warnings": np.array(["2 of 5 cells are probably of ...", "The query's genes ..."])}
    return query, types


def test_scores_of_a_small_query():
    query, types = labelled_query()
    case = open_set.OpenCase(SPEC, "commonest", 0)
    scores = open_set.score(case, query, types, ["a", "b"], types == "c")
    assert scores["uncovered_fraction"] == scores["separable_fraction"] == 0.4
    # F1 of a is 4/5, of b 0
    assert scores["macro_f1"] == pytest.approx(0.4)
    assert scores["novelty_auroc"] == scores["separable_auroc"] == 1
    assert scores["confident"] == scores["separable_confident"] == 0.5
    assert scores["covered_confident"] == pytest.approx(2 / 3)
    assert scores["false_rejection"] == 0
    # one by its novelty, the other by its novel probability
    assert scores["rejected"] == 1
    assert scores["coverage"] == 1
    assert scores["size"] == pytest.approx(4 / 3)
    assert scores["uncovered_empty"] == 0.5
    assert scores["novel_fraction"] == 0.2
    assert scores["n_warnings"] == 2
    # three cells of .95, of which two are right; .6 and .3 are wrong
    assert scores["calibration_error"] == pytest.approx((3 * abs(0.95 - 2 / 3) + 0.6 + 0.3) / 5)


def test_the_labels_of_blood_stand_for_the_types_of_xenium():
    query, _ = labelled_query()
    query.obs["hrca"] = ["B", "CD8 T", "Naive CD4 T", "NK", "B"]
    query.obsm["hrca_set"] = query.obsm["hrca_set"].set_axis(["B", "CD8 T"], axis=1)
    types = np.array(["B cells", "T cells", "T cells", "Fibroblasts", "Fibroblasts"])
    case = open_set.OpenCase(open_set.XENIUM, "none", 0)
    scores = open_set.score(case, query, types, ["B", "CD8 T"], np.isin(types, ["Fibroblasts"]))
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)


def test_the_published_rows_are_those_of_the_cases():
    rows = Table(RESULTS / "uncertainty" / "open_set.csv", open_set.KEY).keys
    n_seeds = len({seed for _, _, _, seed, _ in rows})
    expected = {
        (case.spec.name, case.left_out, str(depth), str(case.seed), method)
        for case in open_set.cases([], n_seeds)
        for depth in case.depths
        for method in open_set.METHODS
    }
    assert rows == expected


def test_the_f1_of_the_model_that_knows_all_types_decides_which_are_separable():
    case = open_set.OpenCase(SPEC, "none", 0)
    types, predicted = np.array(["a"] * 20 + ["b"] * 10), np.array(["a"] * 20 + ["b"] * 5 + ["a"] * 5)
    type_f1 = open_set.f1_by_type(case, 0.1, types, predicted)
    assert type_f1 == {
        (SPEC.name, 0.1, "a"): pytest.approx(40 / 45),
        (SPEC.name, 0.1, "b"): pytest.approx(10 / 15),
    }
    type_f1[SPEC.name, 0.1, "c"] = 0.95
    found = {name: open_set.is_separable_type(case, 0.1, name, type_f1) for name in ("a", "b", "c", "unscored")}
    assert found == {"a": False, "b": False, "c": True, "unscored": False}
    assert not open_set.is_separable_type(case, 1.0, "c", type_f1)
    xenium = open_set.OpenCase(open_set.XENIUM, "none", 0)
    assert open_set.is_separable_type(xenium, 1.0, "Tumor", {})
    assert not open_set.is_separable_type(xenium, 1.0, "B cells", {})


def test_the_summary_averages_closed_and_open_pairs_of_both_groups():
    rows = pd.read_csv(RESULTS / "uncertainty" / "open_set.csv")
    table = open_set.summary(rows)
    assert set(table.index.get_level_values("kind")) == {"closed", "open"}
    chosen = rows[rows["pair"].isin(open_set.CHOSEN_ON) & (rows["method"] == "hrca")]
    expected = chosen.loc[chosen["left_out"] == "none", "macro_f1"].mean()
    assert table.loc[("closed", "chosen on", "hrca"), "macro_f1"] == pytest.approx(expected)
    others = rows[~rows["pair"].isin([*open_set.CHOSEN_ON, open_set.XENIUM.name]) & (rows["method"] == "hrca")]
    warned = (others.loc[others["left_out"] != "none", "n_warnings"] > 0).mean()
    assert table.loc[("open", "checked on", "hrca"), "warned"] == pytest.approx(warned)
