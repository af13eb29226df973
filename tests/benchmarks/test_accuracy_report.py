"""Tables and figures of the accuracy benchmark."""

import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks.accuracy import report
from benchmarks.common.data import PAIRS
from benchmarks.common.methods import METHODS
from benchmarks.common.results import DOCS


def test_the_sparse_half_is_chosen_by_depth_or_genes():
    rows = pd.DataFrame(
        [("1", "all", 2000), ("0.3", "all", 2000), ("0.1", "all", 2000), ("100 counts", "1000 random", 1000)]
        + [("100 counts", "300 random", 300), ("1", "all", 132)],
        columns=["depth", "genes", "n_genes"],
    )
    assert report.is_sparse(rows).tolist() == [False, False, True, False, True, True]
    assert report.is_full(rows).tolist() == [True, False, False, False, False, False]


@pytest.fixture
def results() -> pd.DataFrame:
    """HRCA on four depths and two seeds; one method lacks a row, another has but one."""
    depths = ["1", "0.3", "0.1", "0.03"]
    rows = [("HRCA", depth, seed, float(depth) + seed / 10) for depth in depths for seed in (0, 1)]
    rows += [("b", depth, seed, 0.5) for depth in depths for seed in (0, 1)][:-1] + [
        ("only the hardest", "0.03", 1, 0.1)
    ]
    rows = pd.DataFrame(rows, columns=["method", "depth", "seed", "macro_f1"])
    return rows.assign(pair="p", genes="all", n_genes=2000, median_counts=100.0)


def test_means_are_over_the_rows_that_the_methods_share(results):
    rows = report.comparable(results)
    assert set(rows["method"]) == {"HRCA", "b"}
    for _, own in rows.groupby("method"):
        kept = set(zip(own["depth"], own["seed"], strict=True))
        assert kept == {(depth, seed) for depth in ("1", "0.3", "0.1", "0.03") for seed in (0, 1)} - {("0.03", 1)}


def test_how_far_hrca_is_ahead_is_of_the_rows_that_both_have(results):
    # at the depth 0.03, HRCA has 0.03 and 0.13; b has the first seed only, the third method the second only
    hardest = report.best(results).loc[("p", "all", "0.03")]
    assert (hardest["best other"], hardest["HRCA ahead"]) == ("b", pytest.approx(0.03 - 0.5))
    easiest = report.best(results).loc[("p", "all", "1")]
    assert (easiest["HRCA"], easiest["HRCA ahead"]) == (pytest.approx(1.05), pytest.approx(1.05 - 0.5))


def test_a_training_that_serves_several_depths_counts_once(results):
    spatial = next(pair.name for pair in PAIRS if pair.is_spatial)
    table = results.assign(error=None, accuracy=0.5, ece=0.1, predict_s=2.0, peak_gb=1.0, train_s=1.0)
    table.loc[table["seed"] == 1, "train_s"] = 10.0
    once = table[(table["method"] == "HRCA") & (table["depth"] == "1")].assign(pair=spatial, n_genes=100, train_s=100.0)
    means = report.summary(pd.concat([table, once]))
    # a training of each seed, and two on the spatial pair; not 1, 10 in four rows each
    assert means.loc["HRCA", "train, s"] == 55
    assert means.loc["HRCA", "macro-F1, spatial"] == pytest.approx(1.05)
    assert np.isnan(means.loc["b", "macro-F1, spatial"])


def test_the_spread_is_that_of_whole_seeds():
    rows = [("a", seed, depth, seed + depth) for seed in (0, 1, 2) for depth in (0.0, 0.5)][:-1]
    rows = pd.DataFrame(rows, columns=["method", "seed", "depth", "macro_f1"])
    assert report.spread(rows)["a"] == pytest.approx(np.std([0.25, 1.25], ddof=1))


def test_every_method_has_a_name_in_the_report():
    assert METHODS.keys() <= report.NAMES.keys()


def _main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    report.main()


@pytest.fixture
def drawn(monkeypatch) -> list[str]:
    """Names of the figures, in place of drawing them."""
    names: list[str] = []
    for name in ("depths", "panels"):
        monkeypatch.setattr(report.figures, name, lambda table, methods, path: names.append(path.name))
    for name in ("spatial", "summary"):
        monkeypatch.setattr(report.figures, name, lambda means, path: names.append(path.name))
    return names


def test_the_tables_of_the_docs_are_those_of_the_results(tmp_path, monkeypatch, drawn):
    _main(monkeypatch, "--docs", str(tmp_path))
    assert drawn == ["spatial.png", "depths.png", "panels.png", "summary.png"]
    for name in ("summary", "missing", "best", "spatial", "native"):
        path = f"benchmarks/{name}.csv"
        assert (tmp_path / path).read_bytes() == (DOCS / path).read_bytes()


@pytest.mark.slow
def test_the_figures_are_drawn(tmp_path, monkeypatch):
    _main(monkeypatch, "--docs", str(tmp_path))
    for name in ("spatial.png", "depths.png", "panels.png", "summary.png"):
        assert (tmp_path / "_static" / "benchmarks" / name).stat().st_size > 10_000


def test_a_folder_without_results_says_how_to_make_them(tmp_path):
    with pytest.raises(SystemExit, match="benchmarks.accuracy.run"):
        report.read(tmp_path)
