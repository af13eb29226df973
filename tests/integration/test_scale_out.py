"""What Lightning and scvi-tools bring: two processes, mixed precision, autotune."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import QUIET, ROOT, TINY, synthetic

import hrca


def run(folder: Path, n_processes: int, batch_size: int) -> list[dict]:
    folder.mkdir()
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    script = ROOT / "tests" / "two_processes.py"
    command = [sys.executable, str(script), str(folder), str(n_processes), str(batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank*.json"))]


@pytest.mark.slow
def test_two_processes_end_where_one_does(tmp_path):
    two = run(tmp_path / "two", 2, batch_size=32)
    (one,) = run(tmp_path / "one", 1, batch_size=64)
    assert [result["rank"] for result in two] == [0, 1]
    assert two[0]["model_id"] == two[1]["model_id"], "the processes ended with different weights"
    assert one["accuracy"] > 0.9
    assert two[0]["accuracy"] == pytest.approx(one["accuracy"], abs=0.05)
    # 256 cells: as many steps in either, so the losses may be compared
    for name in ("pretrain_train_loss", "finetune_train_loss"):
        assert two[0]["history"][name][-1] == pytest.approx(one["history"][name][-1], rel=0.15)
    names = sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir())
    assert names == ["finetune-000020.ckpt", "finetune-000025.ckpt", "pretrain-000003.ckpt"]


def test_bf16_trains_and_predicts():
    adata, query = synthetic(100), synthetic(60, seed=5)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(
        30, pretrain_epochs=2, lr=1e-2, batch_size=32, precision="bf16-mixed", accumulate_grad_batches=2, **QUIET
    )
    assert all(torch.isfinite(parameter).all() for parameter in model.module.parameters())
    assert model.evaluate(query, "cell_type")["accuracy"] > 0.8


def test_early_stopping_follows_the_monitored_loss():
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.train(200, pretrain_epochs=2, lr=1e-2, early_stopping=True, early_stopping_patience=3, **QUIET)
    losses = model.history["finetune_validation_loss"].iloc[:, 0]
    assert len(losses) < 200
    assert losses.idxmin() == len(losses) - 1 - 3
    assert len(model.history["pretrain_train_loss"]) == 2


# Ray and scvi's autotune warn of much that is their own
@pytest.mark.filterwarnings("ignore")
def test_autotune_finds_the_better_of_two(tmp_path, request):
    # Ray replaces the handler of Ctrl-C, and does not put it back
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    pytest.importorskip("ray", reason="the extra `autotune` is not installed")
    import scvi
    from scvi.autotune import run_autotune

    scvi.settings.logging_dir = str(tmp_path)
    adata = synthetic(100)
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    from ray import tune

    experiment = run_autotune(
        hrca.HRCA,
        data=adata,
        metrics="validation_accuracy",
        mode="max",
        search_space={
            "model_params": dict(TINY),
            "train_params": {"pretrain_epochs": 1, "max_epochs": 20, "lr": tune.grid_search([1e-6, 1e-2])},
        },
        num_samples=1,
        scheduler="fifo",
        searcher="random",
        resources={"cpu": 1},
        ignore_reinit_error=True,
        logging_dir=str(tmp_path),
    )
    results = experiment.result_grid
    assert len(results) == 2
    assert not results.errors
    best = results.get_best_result(metric="validation_accuracy", mode="max")
    assert best.config["train_params"]["lr"] == 1e-2
    assert np.isfinite(best.metrics["validation_accuracy"])
