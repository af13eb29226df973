"""The benchmark of spatial smoothing: the smallest run."""

import functools
import sys

import numpy as np
import pandas as pd
from conftest import TINY, synthetic

import hrca
from benchmarks.common.data import ReferenceQueryPair
from benchmarks.common.results import RESULTS
from benchmarks.spatial import smoothing


def test_the_pairs_are_those_of_the_results():
    published = pd.read_csv(RESULTS / "spatial" / "smoothing.csv")["pair"]
    assert [pair.name for pair in smoothing.SPATIAL_PAIRS] == published.unique().tolist()


def test_changes_of_recall_are_relative_to_the_labels_before_smoothing():
    query = synthetic(100, n_labels=2)
    query.obs["cell_type"] = ["common"] * 99 + ["rare"]
    query.obs["hrca"] = query.obs["hrca_smooth"] = query.obs["cell_type"]
    query.obs["hrca_majority"] = "common"
    before, smoothed, voted = smoothing.score(query, "cell_type")
    assert before["n_rare"] == 1
    assert before["rare_recall_change"] == before["worst_recall_change"] == smoothed["rare_recall_change"] == 0
    assert voted["rare_recall_change"] == voted["worst_recall_change"] == -1
    assert voted["accuracy"] == 0.99


def test_the_smallest_run_measures_each_pair_once(tmp_path, monkeypatch):
    key = smoothing.SPATIAL_PAIRS[0].labels_key
    reference, query = synthetic(100), synthetic(60, seed=1)
    for adata in (reference, query):
        adata.obs = adata.obs.rename(columns={"cell_type": key})
    query.obsm["spatial"] = np.random.default_rng(0).random((60, 2))
    pair = ReferenceQueryPair(reference, query, key)
    monkeypatch.setitem(hrca.SIZES, "laptop", TINY)
    monkeypatch.setattr(hrca.HRCA, "train", functools.partialmethod(hrca.HRCA.train, pretrain_epochs=1, max_epochs=2))
    monkeypatch.setattr(smoothing, "read_pair", lambda *_: pair)
    monkeypatch.setattr(smoothing, "SPATIAL_PAIRS", smoothing.SPATIAL_PAIRS[:1])
    monkeypatch.setattr(sys, "argv", ["smoothing.py", "--data", "nowhere", "--out", str(tmp_path)])
    smoothing.main()
    smoothing.main()
    rows = pd.read_csv(tmp_path / "smoothing.csv")
    assert list(rows) == list(pd.read_csv(RESULTS / "spatial" / "smoothing.csv", nrows=0))
    assert rows["column"].tolist() == ["hrca", "hrca_smooth", "hrca_majority"]
