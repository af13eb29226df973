"""The speed benchmark: its plan, its cells, its workers, its rows."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import hrca
from benchmarks.common.processes import MethodError
from benchmarks.common.results import Table
from benchmarks.cost import speed, speed_cells, speed_clients, speed_own, speed_plan, speed_worker
from benchmarks.cost.roofline import floor_s, linear_work, measure, network_work
from benchmarks.cost.speed_rows import summarize, work_of
from benchmarks.cost.workload import labelled_cells, random_counts

MACHINE = {"sgemm_gflops": 50.0, "bandwidth_gb_s": 10.0}
SMALL = {"n_genes": 60, "size": "laptop", "n_labels": 4, "depth": "equal", "n_obs": 50, "n_reference": 80}
linux = pytest.mark.skipif(sys.platform != "linux", reason="pins processes, and reads /proc")


@pytest.mark.parametrize("quick", [False, True])
def test_no_row_is_measured_twice(quick):
    keys = [
        tuple(point.key(method, operation).values())
        for point in speed_plan.points(quick=quick)
        for method, operations in point.operations.items()
        for operation in operations
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {len(speed_plan.KEY)}


def test_the_grid_changes_one_factor_at_a_time():
    cells = [point.cells for point in speed_plan.points(quick=False) if point.part == "grid"]
    assert cells[0] == speed_plan.BASE
    assert {c["n_genes"] for c in cells} == {300, 5_000, 20_000}
    assert {c["n_labels"] for c in cells} == {15, 100, 500}
    assert {c["depth"] for c in cells} == set(speed_cells.QUERY_DEPTHS)
    assert {c["size"] for c in cells} == set(hrca.SIZES)


def test_one_thread_and_two_are_compared_on_the_same_cpus():
    points = speed_plan.thread_points(5_000)
    assert {(point.threads, point.busy) for point in points} == {(1, 0), (2, 0), (1, 1), (2, 1)}
    assert {point.n_cpus for point in points} == {2}


@pytest.mark.parametrize(("n_genes", "density"), [(300, 0.3), (1_000, 0.2), (5_000, 0.1), (20_000, 0.05)])
def test_simulated_cells_are_as_dense_as_stated(n_genes, density):
    profiles = speed_cells.simulated_profiles(5, n_genes)
    cells = speed_cells.simulated_cells(200, profiles, speed_cells.reference_depth(n_genes), 0)
    assert cells.X.nnz / np.prod(cells.shape) == pytest.approx(density, rel=0.15)
    assert cells.X.has_canonical_format
    # cells of a label have its profile
    sums = np.asarray(cells[cells.obs["cell_type"] == "type 2"].X.sum(axis=0)).ravel()
    correlations = [np.corrcoef(sums, profile)[0, 1] for profile in profiles]
    assert np.argmax(correlations) == 2


def test_queries_differ_in_depth_and_have_no_empty_cell():
    profiles = speed_cells.simulated_profiles(5, 300)
    medians = []
    for depth in speed_cells.QUERY_DEPTHS:
        totals = np.asarray(speed_cells.simulated_query(300, profiles, depth, 0).X.sum(axis=1)).ravel()
        assert totals.min() >= 1
        medians.append(np.median(totals))
    np.testing.assert_allclose(np.divide(medians, medians[1]), [0.1, 1, 3], rtol=0.1)


@pytest.mark.parametrize("phase", ["predict", "pretrain", "finetune"])
def test_the_work_of_the_networks_is_that_of_their_linear_layers(phase):
    adata = labelled_cells(random_counts(40, 70, 0.1), 6)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    module = hrca.HRCA(adata, size="laptop").module
    parts = [module.gene_ae.encoder_input, module.gene_ae.encoder_layers]
    parts += [] if phase == "predict" else [module.gene_ae.decoder]
    parts += [] if phase == "pretrain" else [module.se_classifier]
    weights = sum(p.numel() for part in parts for p in part.parameters())
    factor = 2 if phase == "predict" else 6
    work = network_work(hrca.SIZES["laptop"], n_obs=10, n_genes=70, n_labels=6, n_nonzero=100, phase=phase)
    # the scores: 2 layers of 8 heads of 16 x 16 features, for queries and values
    assert work.dense_operations == factor * 10 * (weights + 2 * 2 * 8 * 16 * 16)
    assert work.dense_operations - work.operations == factor * 512 * (10 * 70 - 100)
    assert work.n_bytes == 8 * 100 + 4 * 10 * 6 + weights * (4 if phase == "predict" else 28)


def test_the_floor_is_the_slower_of_arithmetic_and_memory():
    assert floor_s(100e9, 1e9, MACHINE) == pytest.approx(2)
    assert floor_s(1e9, 100e9, MACHINE) == pytest.approx(10)
    work = linear_work(n_obs=10, n_genes=70, n_labels=6, n_nonzero=100, n_passes=2)
    assert (work.operations, work.dense_operations) == (2 * 2 * 6 * 100, 2 * 2 * 6 * 700)


@pytest.mark.parametrize("operation", ["predict", "predict without novelty", "pre-training step"])
def test_work_is_known_for_predictions_and_steps_of_hrca(operation):
    point = speed_plan.Point("grid", {}, SMALL)
    assert work_of(point.key("hrca", operation), 100, hrca.SIZES["laptop"]).operations > 0
    assert work_of(point.key("hrca", "train"), 100, hrca.SIZES["laptop"]) is None
    assert work_of(point.key("singler", "predict"), 100, hrca.SIZES["laptop"]) is None


def test_a_row_has_medians_of_times_and_maxima_of_memory():
    times = [(4.0, 3.0, 0.5), (1.0, 1.0, 0.2), (2.0, 2.0, 0.9)]
    names = ("seconds", "cpu_s", "peak_gb")
    answers = [dict(zip(names, values, strict=True)) | {"process_gb": 1.0} for values in times]
    work = linear_work(n_obs=1, n_genes=1, n_labels=1, n_nonzero=25_000_000_000, n_passes=1)
    row = summarize(answers, 100, work, MACHINE)
    assert (row["rounds"], row["seconds"], row["cpu_s"], row["peak_gb"]) == (3, 2.0, 2.0, 0.9)
    assert row["cells_per_s"] == 50
    assert row["floor_s"] == pytest.approx(20)
    assert row["share"] == pytest.approx(10)
    failed = summarize([answers[0], {"error": "KeyError: 'x'"}], 100, work, MACHINE)
    assert (failed["error"], failed["seconds"]) == ("KeyError: 'x'", None)
    assert failed.keys() == row.keys()


def test_the_machine_has_speeds(monkeypatch):
    monkeypatch.setattr("benchmarks.cost.roofline.WIDTH", 64)
    monkeypatch.setattr("benchmarks.cost.roofline.N_COPIED_BYTES", 1024**2)
    assert min(measure().values()) > 0.01


def test_the_clock_ends_an_operation_and_the_run():
    assert speed.Clock(minutes=1, timeout_s=5).limit_s() == 5
    assert speed.Clock(minutes=1, timeout_s=500).limit_s() <= 60
    with pytest.raises(speed.OutOfTimeError):
        speed.Clock(minutes=0, timeout_s=5).check()


def _benchmark(folder: Path, environments: Path | None = None) -> speed.SpeedBenchmark:
    table = Table(folder / "speed.csv", speed_plan.KEY, decimals=speed.DECIMALS)
    benchmark = speed.SpeedBenchmark(table, speed.Clock(10, 120), environments)
    benchmark._machines[1] = MACHINE
    return benchmark


@linux
def test_a_point_is_measured_once_and_its_methods_in_turn(tmp_path):
    point = speed_plan.Point("grid", {"likelihood": ("train", "predict"), "singler": ("predict",)}, SMALL)
    _benchmark(tmp_path).measure(point)
    rows = pd.read_csv(tmp_path / "speed.csv")
    # without an environment there is no row, and a run with one measures it
    assert rows["method"].tolist() == ["likelihood", "likelihood"]
    assert rows["operation"].tolist() == ["train", "predict"]
    assert rows["rounds"].tolist() == [1, speed.N_ROUNDS]
    assert rows["error"].isna().all()
    assert (rows[["seconds", "process_gb"]] > 0).all(axis=None)
    assert rows["cells_per_s"].iloc[1] == pytest.approx(50 / rows["seconds"].iloc[1], rel=0.01)
    before = (tmp_path / "speed.csv").read_bytes()
    _benchmark(tmp_path).measure(point)
    assert (tmp_path / "speed.csv").read_bytes() == before


@linux
@pytest.mark.parametrize("method", ["hrca", "published"])
def test_own_methods_predict_and_train_on_few_cells(tmp_path, method):
    torch.manual_seed(0)
    speed_cells.write_cells(SMALL, tmp_path, 128)
    operations = speed_own.operations(method, tmp_path / "reference.h5ad", tmp_path / "query.h5ad", "laptop")
    answers = {name: speed_worker.measure(operations[name]) for name in ("prepare", "predict", *speed_plan.STEPS)}
    assert all(answer["seconds"] > 0 for answer in answers.values())
    planned = {name for point in speed_plan.points(quick=False) for name in point.operations.get(method, ())}
    assert planned <= operations.keys()
    # a step, not the epoch of six
    start = time.perf_counter()
    operations["pre-training step"]()
    assert speed_worker.measure(operations["pre-training step"])["seconds"] < (time.perf_counter() - start) / 2


@linux
def test_a_method_that_fails_has_rows_with_its_error(tmp_path):
    unknown = replace(speed_plan.Point("grid", {"likelihood": ("no such",), "absent": ("predict",)}), cells=SMALL)
    _benchmark(tmp_path).measure(unknown)
    errors = pd.read_csv(tmp_path / "speed.csv").set_index("method")["error"]
    assert "no such" in errors["likelihood"]
    assert "benchmarks.common.baselines.absent" in errors["absent"]


@linux
def test_a_worker_that_takes_too_long_is_stopped(tmp_path):
    speed_cells.write_cells(SMALL, tmp_path, 128)
    variables = speed_clients.environment(1)
    options = {"size": "laptop", "variables": variables, "n_cpus": 1}
    with speed_clients.Client(Path(sys.executable), "likelihood", tmp_path, **options) as client:
        with pytest.raises(MethodError, match="timed out after 0 s"):
            client.start(0.01)
        assert not client.is_alive()


@linux
def test_workers_have_their_threads_and_policy(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "3000")
    assert not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(speed_clients.environment(2))
    assert speed_clients.environment(2, "PASSIVE")["OMP_WAIT_POLICY"] == "PASSIVE"
    assert speed_clients.environment(2)["MKL_NUM_THREADS"] == "2"
    assert len(speed_clients.chosen_cpus(1)) == 1


@linux
def test_a_busy_cpu_is_one_of_the_workers_and_only_meanwhile():
    with speed_clients.keep_busy(1, 2) as (loop,):
        end = time.monotonic() + 60
        while len(os.sched_getaffinity(loop.pid)) > 1 and time.monotonic() < end:
            time.sleep(0.1)
        assert os.sched_getaffinity(loop.pid) == {speed_clients.chosen_cpus(2)[0]}
        assert loop.poll() is None
    assert loop.returncode is not None
