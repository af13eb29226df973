"""The benchmarks: their grid, their resuming, their scores, their summaries, and the likelihood baselines."""

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
import backoff
import calibration
import calibration_report
import grid
import likelihood
import novelty
import report
import scores
import table
from conftest import QUIET, TINY, synthetic

import hrca


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
    assert scores.calibration_error(confidence, correct) == pytest.approx(error, abs=1e-6)
    assert np.isnan(scores.calibration_error(np.array([np.nan, 1]), np.array([True, False])))


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


def test_sets_of_the_likeliest_labels_reach_their_probability():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=50)
    sets = calibration.until(pd.DataFrame(probabilities), 0.9)
    for row, chosen in zip(probabilities, sets.to_numpy(), strict=True):
        total, expected = 0.0, set()
        for label in sorted(range(4), key=lambda label: -row[label]):
            if total < 0.9:
                expected.add(label)
            total += row[label]
        assert set(np.flatnonzero(chosen)) == expected


def test_the_calibration_error_by_chance_falls_with_the_cells():
    confidence = np.random.default_rng(1).uniform(0.3, 1, 20_000)
    few, many = calibration.chance(confidence[:300]), calibration.chance(confidence)
    assert few > 0.04 > 0.015 > many > 0
    assert calibration.chance(np.ones(10)) == 0


def test_the_halves_of_a_data_set_share_no_cell(data_dir):
    reference, query = calibration.halves("starmap_mpfc", data_dir, 0, 50)
    assert not set(reference.obs_names) & set(query.obs_names)
    assert reference.n_obs + query.n_obs == 3190
    assert reference.n_vars == query.n_vars == 50


def test_a_query_without_one_type_has_all_its_cells_and_the_reference_none(data_dir):
    run = novelty.Run("starmap_mpfc", "Endo", 0, 100)
    reference, query = novelty.split(run, data_dir)
    whole = novelty.read("starmap_mpfc", data_dir)
    assert "Endo" not in set(reference.obs["type"])
    assert (query.obs["type"] == "Endo").sum() == (whole.obs["type"] == "Endo").sum()
    assert not set(reference.obs_names) & set(query.obs_names)
    assert reference.n_vars == 100


def test_every_type_with_30_cells_is_left_out_once(data_dir):
    runs = list(novelty.runs(["pbmc3k", "starmap_mpfc"], data_dir, 0, 2000))
    assert len({(run.data, run.left_out) for run in runs}) == len(runs)
    for name in ("pbmc3k", "starmap_mpfc"):
        counts = novelty.read(name, data_dir).obs["type"].value_counts()
        left_out = {run.left_out for run in runs if run.data == name}
        assert left_out == {novelty.ALL_TYPES, *counts.index[counts >= 30]}


def test_the_hierarchies_of_back_off_are_those_of_the_data(data_dir):
    for name, parents in backoff.PARENTS.items():
        labels = set(hrca.datasets.local(name, data_dir).obs["cell_type"].astype(str))
        assert set(parents) - set(parents.values()) <= labels


def test_a_threshold_answers_as_many_cells_as_back_off(monkeypatch):
    cells, parents = synthetic(200), {"type 0": "low", "type 1": "low"}
    hrca.HRCA.setup_anndata(cells, labels_key="cell_type", labels_hierarchy=parents)
    model = hrca.HRCA(cells, **TINY)
    model.train(1, 1, **QUIET)
    query = grid.thin(synthetic(50, seed=1), 0.03, np.random.default_rng(0))
    query = query[grid.totals(query) > 0].copy()
    scored, ways = backoff.answered, []
    monkeypatch.setattr(backoff, "answered", lambda known, said, tree: ways.append(said) or scored(known, said, tree))
    rows = list(backoff.score(model, query, parents))
    table = model.predict(query, soft=True, key_added=None)
    labels, sure = model.predict(query, key_added=None), table.max(axis=1).to_numpy()
    n_unanswered = []
    for row, least, said in zip(rows, backoff.LEAST, ways, strict=True):
        assert row["min_confidence"] == least
        np.testing.assert_array_equal(said["backoff"], model.predict(query, min_confidence=least, key_added=None))
        np.testing.assert_array_equal(said["flat"], labels)
        answered = said["threshold"] != "Unknown"
        assert answered.sum() == (said["backoff"] != "Unknown").sum() == round(row["coverage"] * len(labels))
        np.testing.assert_array_equal(said["threshold"][answered], labels[answered])
        assert sure[answered].min() >= sure[~answered].max(initial=0)
        expected = hrca.metrics.hierarchical_scores(query.obs["cell_type"], said["backoff"], parents)
        assert row["backoff_f1"] == expected["hierarchical_f1"]
        n_unanswered.append((~answered).sum())
    assert 0 < n_unanswered[-1] < len(labels)


def test_back_off_is_first_where_it_is_above_both_others():
    rows = pd.DataFrame({"data": "blood", "seed": range(3), "depth": 1.0, "n_folds": pd.array([None] * 3, "Int64")})
    rows = rows.assign(min_confidence=0.5, coverage=[1, 0.5, 0.9], backoff_f1=[0.6, 0.8, 0.7])
    rows = rows.assign(threshold_f1=[0.5, 0.8, 0.6], flat_f1=[0.5, 0.7, 0.6])
    rows = rows.assign(backoff_precision=0.9, threshold_precision=0.8, flat_precision=0.7)
    (row,) = backoff.summary(rows).to_dict("records")
    assert row == {
        "answered": "0.800",
        "back-off": "0.7000 (0.900)",
        "threshold": "0.6333 (0.800)",
        "every cell": "0.6000 (0.700)",
        "back-off first": "2 of 3",
    }


def test_the_pairs_of_calibration_have_only_seen_types_and_cells_with_counts(data_dir):
    ((name, seed, make),) = calibration.across(["poa"], 1, data_dir)
    case = make()
    assert (name, seed, case.depths) == ("poa_scrna_moffitt -> poa_merfish_b0.06", 0, (1.0,))
    key = case.pair.labels_key
    assert set(case.pair.query.obs[key]) <= set(case.pair.reference.obs[key])
    (query,) = case.queries().values()
    assert (grid.totals(query) > 0).all()
    case = replace(case, depths=(0.001,))
    assert 0 < case.queries()[0.001].n_obs < query.n_obs


def test_a_method_without_sets_is_scored_by_its_confidence():
    known, said = np.array(["a", "b"] * 50), np.array(["a", "a"] * 50)
    row, by_label = calibration.score(calibration.Answer(said, np.full(100, 0.5), None), known)
    assert (row["accuracy"], row["calibration_error"]) == (0.5, 0)
    assert np.isnan(row["coverage"])
    assert by_label.empty


def test_an_answer_is_scored_by_label_where_it_has_100_cells():
    known = np.array(["a"] * 120 + ["b"] * 20)
    table = pd.DataFrame({"a": np.full(140, 0.8), "b": np.full(140, 0.2)})
    row, by_label = calibration.score(calibration.of_table(table, table > 0.5), known)
    assert row["accuracy"] == row["coverage"] == pytest.approx(120 / 140)
    assert row["calibration_error"] == pytest.approx(120 / 140 - 0.8)
    assert (row["size"], row["empty"]) == (1, 0)
    assert by_label["coverage"].to_dict() == {"a": 1}


def test_splits_are_taken_together_as_if_their_cells_were():
    rng = np.random.default_rng(0)
    known, confidence = np.full(900, "right"), rng.random(900)
    labels = np.where(rng.random(900) < confidence * 0.9, "right", "wrong")
    parts = []
    for cells in np.array_split(rng.permutation(900), 3):
        answer = calibration.Answer(labels[cells], confidence[cells], None)
        parts.append(calibration.bins(answer, known[cells]).assign(data="cells", depth=1.0, method="one"))
    (row,) = calibration_report.together(pd.concat(parts)).to_dict("records")
    assert row["n_obs"] == 900
    assert row["error"] == pytest.approx(hrca.metrics.calibration_error(known, labels, confidence))
    drawn = [np.where(rng.random(900) < confidence, "right", "wrong") for _ in range(200)]
    expected = np.mean([hrca.metrics.calibration_error(known, said, confidence) for said in drawn])
    assert row["chance"] == pytest.approx(expected, rel=0.06)


def test_coverage_of_labels_over_splits():
    classes = pd.DataFrame(
        {"data": "cells", "depth": 1.0, "label": ["a", "a", "b"], "n_obs": [100, 300, 100], "method": "one"}
    ).assign(coverage=[0.84, 0.92, 0.90])
    table = calibration_report.by_label(classes, {"one": "One"}).reset_index().set_index("cells of")
    assert table.loc["each split", ["labels", "least"]].tolist() == [3, 0.84]
    assert table.loc["each split", "within 2 points"] == pytest.approx(2 / 3)
    assert table.loc["all splits", ["labels", "within 2 points", "least"]].tolist() == [2, 1.0, 0.9]
    # a beta-binomial: 91 of the 101 places that a new cell can have among 100 held-out ones
    exact = stats.betabinom.cdf(92, 100, 91, 10) - stats.betabinom.cdf(87, 100, 91, 10)
    assert calibration_report.within_if_exact(np.full(50, 100)) == pytest.approx(exact, abs=0.01)
    assert calibration_report.within_if_exact(np.full(50, 300), 3) > exact + 0.1
