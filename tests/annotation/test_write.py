"""Entries are written into objects: also views and collections, and in place of those of an earlier prediction."""

import re
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.experimental import AnnCollection
from conftest import synthetic

import hrca
from hrca.annotation._options import LabelSpace, PredictOptions
from hrca.annotation._result import PredictionResult, to_entries
from hrca.annotation._write import check_target, check_writable, write_result, write_to_object
from hrca.data._row_reader import _sampled_blocks


def entries(obs_names: pd.Index, *, novelty: bool = False):
    """Entries under "key": label "a" for the first half of the cells, "b" for the others."""
    n_obs = len(obs_names)
    is_a = np.arange(n_obs) < n_obs // 2
    labels = pd.Categorical(np.where(is_a, "a", "b"), categories=["a", "b", "Unknown"])
    probabilities = pd.DataFrame({"a": is_a, "b": ~is_a}, index=obs_names, dtype=np.float32)
    ranks = np.linspace(0, 1, n_obs, dtype=np.float32) if novelty else None
    return to_entries("key", PredictionResult(labels, np.ones(n_obs, dtype=np.float32), probabilities, ranks), {"n": 1})


def as_query(target):
    adata = SimpleNamespace(file=None, obs_names=target.obs_names)
    return SimpleNamespace(selection=None, target=target, adata=adata)


def test_an_object_gets_all_entries_and_a_copy_of_uns():
    adata = synthetic(10)
    made = entries(adata.obs_names)
    write_result(as_query(adata), made)
    assert list(adata.obs["key"]) == ["a"] * 5 + ["b"] * 5
    assert list(adata.obsm["key_probabilities"]) == ["a", "b"]
    adata.uns["key"]["n"] = 2
    assert made.uns["key"]["n"] == 1


def test_stale_entries_are_deleted_and_others_stay():
    adata = synthetic(10)
    write_to_object(adata, entries(adata.obs_names, novelty=True))
    adata.obs["other_novelty"] = 1.0
    adata.obsm["key_set"] = adata.obsm["key_probabilities"].copy()
    write_to_object(adata, entries(adata.obs_names))
    assert list(adata.obs) == ["cell_type", "key", "key_confidence", "other_novelty"]
    assert list(adata.obsm) == ["key_probabilities"]


def test_a_view_becomes_actual_and_its_parent_stays():
    parent = synthetic(10)
    view = parent[:4]
    write_to_object(view, entries(view.obs_names))
    assert not view.is_view
    assert list(view.obs["key"]) == ["a", "a", "b", "b"]
    assert "key" not in parent.obs


def test_a_collection_and_each_of_its_objects_are_written():
    parts = [synthetic(4), synthetic(6, seed=1)]
    parts[1].obs_names = [f"other {name}" for name in parts[1].obs_names]
    collection = AnnCollection(parts, join_obs="inner")
    write_to_object(collection, entries(collection.obs_names, novelty=True))
    assert list(collection.obs["key"]) == ["a"] * 5 + ["b"] * 5
    assert [list(part.obs["key"]) for part in parts] == [["a"] * 4, ["a"] + ["b"] * 5]
    assert [part.obsm["key_probabilities"].shape for part in parts] == [(4, 2), (6, 2)]
    write_to_object(collection, entries(collection.obs_names))
    assert not [name for obs in (collection.obs, *(part.obs for part in parts)) for name in obs if "novelty" in name]


def test_a_view_of_an_object_on_disk_raises(tmp_path):
    synthetic(10).write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    check_target(as_query(backed), "key", LabelSpace(["a"], {}, "Unknown"), PredictOptions())
    view = backed[:5]
    for target in (view, AnnCollection([view, synthetic(10)[5:]], join_obs="inner")):
        with pytest.raises(ValueError, match=r"view of a backed AnnData.*adata.to_memory\(\).*`key_added=None`"):
            check_writable(target)


@pytest.mark.parametrize("where", ["object", "h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_predicting_again_deletes_entries_that_the_new_prediction_lacks(tiny_model, query, where, tmp_path):
    target = query
    if where != "object":
        target = tmp_path / f"query.{where}"
        getattr(query, f"write_{where}")(target)
    read = {"object": lambda it: it, "h5ad": ad.read_h5ad, "zarr": ad.read_zarr}[where]
    tiny_model.predict(target, coverage=0.9, enable_progress_bar=False)
    with_sets = read(target)
    assert "hrca_set_size" in with_sets.obs
    assert "hrca_set" in with_sets.obsm
    tiny_model.predict(target, enable_progress_bar=False)
    without = read(target)
    assert not {"hrca_set_size", "hrca_set"} & {*without.obs, *without.obsm}
    assert {"hrca", "hrca_novelty", "hrca_confidence"} <= set(without.obs)
    assert "coverage" not in without.uns["hrca"]


def test_predicting_again_leaves_entries_of_other_functions(tiny_model, query):
    tiny_model.predict(query, ontology_terms=TERMS)
    query.obs["cluster"] = ["0", "1"] * 18 + ["0"]
    hrca.tl.majority_vote(query, clusters="cluster")
    before = query.obs.copy()
    tiny_model.predict(query, platform_correction=False)
    stays = ["cell_type", "cell_type_ontology_term_id", "hrca_majority"]
    pd.testing.assert_frame_equal(query.obs[stays], before[stays])


def test_predicting_again_replaces_its_entries(tiny_model, query):
    tiny_model.predict(query, platform_correction=False)
    before = list(query.obs.columns)
    tiny_model.predict(query)
    assert list(query.obs.columns) == before
    assert query.uns["hrca"]["platform_correction"]


def test_the_correction_is_recorded_only_where_factors_were_fitted(tiny_model, query):
    few = query[:12].copy()
    tiny_model.predict(few)
    assert not few.uns["hrca"]["platform_correction"]
    assert few.uns["hrca"]["platform_log_sd"] == 0


@pytest.mark.parametrize("key", ["a/b", ".", "_index", "", "x\0", 5])
def test_a_key_that_no_file_can_hold_raises_before_any_work(tiny_model, query, key, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    with pytest.raises(ValueError, match="`key_added` must be a name that files can hold"):
        tiny_model.predict(query, key_added=key)


@pytest.mark.parametrize("name", ["hrca", "hrca_confidence"])
def test_a_column_with_the_name_of_the_index_raises_before_any_work(tiny_model, query, name, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    query.obs.index.name = name
    with pytest.raises(ValueError, match=f"would have a column '{name}'. Choose another `key_added`"):
        tiny_model.predict(query)


@pytest.mark.parametrize("label", ["T\0", "T\ud800"])
def test_labels_that_no_file_can_hold_raise(tmp_path, label):
    adata = synthetic(10)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    query = SimpleNamespace(target=tmp_path / "cells.h5ad", adata=adata, selection=None)
    check_target(query, "key", LabelSpace(["B"], {}, "Unknown"), PredictOptions())
    for label_space in (LabelSpace(["B", label], {}, "Unknown"), LabelSpace(["B"], {}, label)):
        with pytest.raises(ValueError, match=r"Unicode text without NUL.* has 'T\\.*`key_added=None`"):
            check_target(query, "key", label_space, PredictOptions())


TERMS = {"type 0": "CL:0000236", "type 1": "CL:0000084", "type 2": "unknown"}


@pytest.fixture(params=["object", "some cells", "view", "h5ad", "zarr", "collection"])
def target(request, query, tmp_path):
    """A query with entries of its own, the arguments that predict it, and how its obs is read."""
    query.obs["cell_type"] = query.obs["ours_novelty"] = "by hand"
    query.obsm["pca_set"], query.uns["umap"] = np.zeros((query.n_obs, 2)), {"params": 1}
    if request.param in ("h5ad", "zarr"):
        path = tmp_path / f"query.{request.param}"
        getattr(query, f"write_{request.param}")(path)
        return path, {}, lambda: getattr(ad, f"read_{request.param}")(path).obs
    if request.param == "collection":
        return AnnCollection([query[:9].copy(), query[9:].copy()], index_unique="-"), {}, lambda: query.obs
    adata = query[:] if request.param == "view" else query
    return adata, {"indices": [0, 1, 2]} if request.param == "some cells" else {}, lambda: adata.obs


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key_added": "cell_type"}, r"the query has obs\['cell_type'\]. Choose another `key_added`, or rename"),
        ({"key_added": "ours"}, r"the query has obs\['ours_novelty'\]"),
        ({"key_added": "pca"}, r"the query has obsm\['pca_set'\]"),
        ({"key_added": "umap"}, r"the query has uns\['umap'\]"),
        ({"ontology_terms": TERMS}, r"`ontology_terms` must not replace .* has obs\['cell_type'\]. Rename or delete"),
    ],
)
def test_entries_of_the_user_are_not_replaced(tiny_model, target, options, words, monkeypatch):
    monkeypatch.setattr("hrca.prediction._probabilities.BranchScorer", lambda *_: pytest.fail("work had started"))
    query, arguments, read_obs = target
    before = read_obs().copy()
    with pytest.raises(ValueError, match=words):
        tiny_model.predict(query, **arguments, **options)
    pd.testing.assert_frame_equal(read_obs(), before)


def test_a_column_of_a_collection_alone_is_not_replaced(tiny_model, query):
    collection = AnnCollection([query[:9].copy(), query[9:].copy()], index_unique="-")
    collection.obs["hrca"] = "by hand"
    with pytest.raises(ValueError, match=r"obs of the collection has 'hrca'. Choose another `key_added`"):
        tiny_model.predict(collection)
    assert set(collection.obs["hrca"]) == {"by hand"}


def test_the_way_out_of_a_column_of_the_user_works(tiny_model, query):
    query.obs["cell_type"] = "by hand"
    with pytest.raises(ValueError) as error:
        tiny_model.predict(query, ontology_terms=TERMS)
    (remedy,) = re.findall(r"`(adata\.obs = .*?)`", str(error.value))
    exec(remedy, {"adata": query})
    tiny_model.predict(query, ontology_terms=TERMS)
    assert set(query.obs["author_cell_type"]) == {"by hand"}
    assert set(query.obs["cell_type"]) <= {*TERMS, "unknown"}


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("format", ["object", "h5ad", "zarr", "collection"])
def test_entries_of_a_prediction_are_replaced(tiny_model, query, format, tmp_path):
    target = query
    if format in ("h5ad", "zarr"):
        target = tmp_path / "query"
        getattr(query, f"write_{format}")(target)
    elif format == "collection":
        target = AnnCollection([query[:9].copy(), query[9:].copy()], index_unique="-")

    def written():
        return {
            "object": lambda: query,
            "h5ad": lambda: ad.read_h5ad(target),
            "zarr": lambda: ad.read_zarr(target),
        }.get(format, lambda: ad.concat(target.adatas, merge="same", uns_merge="same"))()

    tiny_model.predict(target, ontology_terms=TERMS, coverage=0.9)
    assert {"hrca_set_size", "cell_type"} <= set(written().obs)
    tiny_model.predict(target)
    assert "hrca_set_size" not in written().obs
    assert "cell_type" in written().obs
    tiny_model.predict(target, ontology_terms=TERMS, indices=[3, 4])
    np.testing.assert_array_equal(np.flatnonzero(written().obs["hrca"].notna()), [3, 4])


def with_one_bad_cell(n_obs: int = 3_000) -> ad.AnnData:
    """Counts, but for one cell outside the cells from which the content of a matrix is classified."""
    adata = synthetic(n_obs)
    rows = {row for block in _sampled_blocks(n_obs, 1_000, on_disk=True) for row in range(block.start, block.stop)}
    rows |= {row for block in _sampled_blocks(n_obs, 1_000, on_disk=False) for row in range(block.start, block.stop)}
    cell = next(row for row in range(n_obs - 1, 0, -1) if row not in rows)
    adata.X.data[adata.X.indptr[cell]] = 0.5
    return adata


@pytest.mark.parametrize("where", ["object", "h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_bad_second_sample_is_found_before_the_first_is_written(tiny_model, where, tmp_path):
    samples = {"good": synthetic(30), "bad": with_one_bad_cell()}
    if where != "object":
        for name, adata in samples.items():
            getattr(adata, f"write_{where}")(tmp_path / name)
        samples = {name: tmp_path / name for name in samples}
    with pytest.raises(ValueError, match="must hold raw counts.*fractions such as 0.5") as raised:
        tiny_model.predict(samples, enable_progress_bar=False)
    assert raised.value.__notes__ == ["The error is in sample 'bad'."]
    good = samples["good"] if where == "object" else getattr(ad, f"read_{where}")(samples["good"])
    assert list(good.obs) == ["cell_type"]


def test_only_labels_of_cells_are_categories():
    adata = synthetic(10)
    write_to_object(adata, entries(adata.obs_names))
    assert list(adata.obs["key"].cat.categories) == ["a", "b"]
    half = synthetic(5)
    half.obs_names = [f"half {i}" for i in range(5)]
    collection = AnnCollection([half, adata], join_vars="inner")
    write_to_object(collection, entries(collection.obs_names))
    # the first seven of 15 cells are "a"
    assert list(half.obs["key"].cat.categories) == ["a"]
    assert list(adata.obs["key"].cat.categories) == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "colors", "expected"),
    [
        (["b", "a"], ["red", "blue"], ["blue", "red"]),
        (["a", "b", "Unknown"], ["red", "blue", "gray"], ["red", "blue"]),
        (["a", "c"], ["red", "blue"], None),
        (["a", "b", "c"], ["red", "blue"], None),
    ],
)
def test_a_label_keeps_its_color_in_scanpy(before, colors, expected):
    adata = synthetic(10)
    adata.obs["key"] = pd.Categorical(["a"] * 10, categories=before)
    adata.uns["key_colors"] = colors
    write_to_object(adata, entries(adata.obs_names))
    assert adata.uns.get("key_colors") == expected
