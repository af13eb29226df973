"""The accuracy benchmark: its grid, its resuming, its scores, its summaries, and the likelihood baselines."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

# at the end: some scripts have the name of the package that they run
sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks" / "methods"))

import accuracy
import grid
import likelihood
import report
import scores
import table


@pytest.fixture
def pair(reference, query) -> grid.Pair:
    cells = query[:, query.var_names.isin(reference.var_names)].copy()
    cells.obs["cell_type"] = "type 0"
    return grid.Pair(reference[:, cells.var_names].copy(), cells, "cell_type")


def test_thinning_reaches_the_median(data_dir):
    source = next(source for source in grid.SOURCES if source.quick and source.panel_turn)
    pair = grid.panel(grid.load(source, data_dir), "300 random", seed=0)
    thinned = grid.queries(pair, ("0.1", "100 counts", "30 counts"), seed=0)
    medians = {depth: np.median(grid.totals(query)) for depth, query in thinned.items()}
    native = np.median(grid.totals(pair.query))
    assert medians == {
        "0.1": pytest.approx(0.1 * native, abs=2),
        "100 counts": pytest.approx(100, abs=3),
        "30 counts": pytest.approx(30, abs=2),
    }


def test_a_median_that_is_not_reached_leaves_the_query_and_is_there_once(pair):
    thinned = grid.queries(pair, ("1", "10000 counts", "1000 counts"), seed=0)
    assert list(thinned) == ["1", "1000 counts"]
    assert (thinned["1000 counts"].X != pair.query.X).nnz == 0


def test_what_else_is_run_does_not_change_a_query(pair):
    alone, among_others = grid.queries(pair, ("0.3",), 1), grid.queries(pair, ("0.1", "0.3"), 1)
    assert (alone["0.3"].X != among_others["0.3"].X).nnz == 0
    assert (alone["0.3"].X != grid.queries(pair, ("0.3",), 2)["0.3"].X).nnz > 0


def test_a_panel_is_the_same_genes_on_both_sides(pair):
    chosen = grid.panel(pair, "20 random", seed=0)
    assert chosen.reference.n_vars == 20
    assert list(chosen.reference.var_names) == list(chosen.query.var_names)
    assert chosen.query.n_obs == pair.query.n_obs
    assert grid.panel(pair, f"{pair.query.n_vars} random", seed=0) is None


def test_the_grid_has_no_row_twice():
    keys = [job.key(depth) for job in grid.jobs(["a", "b"], 3) for depth in job.depths]
    assert len(keys) == len(set(keys))
    seeds = [int(key[-1]) for key in keys]
    assert seeds == sorted(seeds)


def _row(job: grid.Job, depth: str, **values) -> dict:
    return dict(zip(table.KEY, job.key(depth), strict=True)) | {"macro_f1": 0.5, "train_s": 1.0} | values


def test_rows_that_are_there_are_not_run_again(tmp_path, monkeypatch):
    asked = []

    def rows(job, lacking, *_):
        asked.extend(job.key(depth) for depth in lacking)
        return [_row(job, depth) for depth in lacking]

    monkeypatch.setattr(accuracy, "rows", rows)
    arguments = ["--data", "nowhere", "--quick", "--methods", "multinomial", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *arguments])
    accuracy.main()
    assert asked and len(asked) == len(set(asked))
    first = len(asked)
    path = tmp_path / "multinomial.csv"
    # killed in the middle of the last line
    path.write_text(path.read_text()[:-10])
    accuracy.main()
    assert asked[first:] == [asked[first - 1]]
    assert len(pd.read_csv(path)) == first


def test_errors_are_kept_or_tried_again(tmp_path):
    job = grid.Job("multinomial", grid.SOURCES[0], "all", 0, ("1", "0.1"))
    results = table.Table(tmp_path / "results.csv")
    results.append(_row(job, "1"))
    results.append(_row(job, "0.1", error="no, such, thing"))
    assert table.Table(results.path).keys == {job.key("1"), job.key("0.1")}
    assert table.Table(results.path, retry_errors=True).keys == {job.key("1")}


def test_a_method_that_fails_says_why(tmp_path):
    with pytest.raises(accuracy.MethodError, match="ValueError: on purpose"):
        accuracy.execute([sys.executable, "-c", "raise ValueError('on purpose')"], tmp_path, 60)
    with pytest.raises(accuracy.MethodError, match="timed out after 0.2 s"):
        accuracy.execute([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2)


def test_a_method_without_its_environment_says_how_to_make_it(tmp_path, monkeypatch):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "celltypist.py").touch()
    monkeypatch.setattr(accuracy, "HERE", tmp_path)
    assert f"make.sh {tmp_path} celltypist" in accuracy.command("celltypist", tmp_path)
    assert "there is no methods/hrca" in accuracy.command("hrca", None)


def test_baselines_run_from_end_to_end(pair, monkeypatch):
    source = replace(grid.SOURCES[0], labels_key="cell_type")
    monkeypatch.setattr(grid, "load", lambda *_: pair)
    job = grid.Job("multinomial", source, "all", 0, ("1", "0.3"))
    made = accuracy.rows(job, ["1", "0.3"], Path(), accuracy.command("multinomial", None), 120)
    assert [row["depth"] for row in made] == ["1", "0.3"]
    assert not any("error" in row for row in made)
    assert set(made[0]) <= set(table.COLUMNS)
    # the query's cells are all called type 0, a third of them are, and one is empty
    assert made[0]["accuracy"] == pytest.approx(1 / 3, abs=0.1)
    assert made[0]["peak_gb"] > 0


def test_calibration_error_matches_a_loop():
    rng = np.random.default_rng(0)
    confidence = np.r_[rng.random(500), np.ones(20)]
    correct = rng.random(520) < confidence**2
    error = 0.0
    for low in np.arange(15) / 15:
        chosen = (confidence >= low) & ((confidence < low + 1 / 15) | (low > 0.93))
        error += chosen.mean() * abs(confidence[chosen].mean() - correct[chosen].mean())
    known, predicted = np.full(520, "right"), np.where(correct, "right", "wrong")
    assert scores.calibration_error(known, predicted, confidence) == pytest.approx(error, abs=1e-6)
    above_one = scores.calibration_error(known[:1], predicted[:1], np.array([1 + 1e-7]))
    assert above_one == pytest.approx(float(not correct[0]))
    assert np.isnan(scores.calibration_error(known[:2], predicted[:2], np.array([np.nan, 1])))


def test_unseen_types_are_counted_and_not_scored():
    known, predicted = np.array(["a", "b", "c"], dtype=object), np.array(["a", "b", "a"], dtype=object)
    found = scores.score(known, known != "c", predicted, np.array([0.8, 0.6, 0.4]))
    assert found["accuracy"] == found["median_f1"] == 1
    assert (found["n_cells"], found["n_unseen"]) == (2, 1)
    assert (found["seen_confidence"], found["unseen_confidence"]) == (pytest.approx(0.7), 0.4)


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
    spatial = next(source.name for source in grid.SOURCES if source.spatial)
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
    assert accuracy.METHODS.keys() <= report.NAMES.keys()


def test_negative_binomial_matches_scipy():
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.ones(30), size=4)
    counts = rng.poisson(20 * profiles[rng.integers(4, size=12)]).astype(float)
    mean = counts.sum(axis=1)[:, None, None] * profiles
    size = likelihood.SIZE
    expected = stats.nbinom.logpmf(counts[:, None], size, size / (size + mean)).sum(axis=2)
    found = likelihood.negative_binomial(sparse.csr_matrix(counts), profiles)
    # up to a constant of the cell
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-6)


def test_platform_factors_find_a_gene_that_is_seen_twice_as_well():
    rng = np.random.default_rng(0)
    profiles = rng.dirichlet(np.ones(30), size=2)
    seen = np.ones(30)
    seen[3] = 2
    counts = sparse.csr_matrix(rng.poisson(1000 * (profiles * seen)[rng.integers(2, size=200)]).astype(float))
    factors = likelihood.platform_profiles(counts, profiles, likelihood.multinomial) / profiles
    others = np.delete(factors, 3, axis=1)
    assert factors[:, 3] / np.median(others, axis=1) == pytest.approx([2, 2], rel=0.1)
