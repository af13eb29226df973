"""The number of torch's threads while HRCA computes."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import QUIET, ROOT, TINY, synthetic
from lightning.pytorch.callbacks import Callback

import hrca
from hrca.model._threads import within_cpu_quota


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(found)


class ThreadsOfSteps(Callback):
    """Note the number of threads of each step."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    def on_train_batch_end(self, *_):
        self.numbers.add(torch.get_num_threads())


@pytest.mark.parametrize("n_usable", [1, 2, 8])
def test_threads_are_limited_and_restored(n_usable, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    # joblib takes the least of affinity, quota and this
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", str(n_usable))
    with pytest.raises(KeyError, match="inside"), within_cpu_quota():
        assert torch.get_num_threads() == min(2, n_usable)
        raise KeyError("inside")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("requested", "expected"), [("1", 1), (" 1,4", 1), ("2", 2), ("16", 2), ("", 2), ("0", 2), ("-1", 2), ("many", 2)]
)
def test_the_number_of_the_environment_is_a_limit(requested, expected, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", requested)
    with within_cpu_quota():
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


def test_scanpy_before_hrca_does_not_raise_the_number_of_threads():
    script = """
import scanpy as sc, torch
from conftest import synthetic
from hrca.model._threads import within_cpu_quota

sc.pp.normalize_total(synthetic(700))
print(torch.get_num_threads())
with within_cpu_quota():
    print(torch.get_num_threads())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2", "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["2", "1"]


def test_training_adaptation_and_prediction_are_within_the_quota(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    adata, steps = synthetic(60), ThreadsOfSteps()
    hrca.HRCA.setup_anndata(adata, labels_key="cell_type")
    model = hrca.HRCA(adata, **TINY)
    model.pretrain(1, callbacks=[steps], **QUIET)
    model.finetune(1, callbacks=[steps], **QUIET)
    assert steps.numbers == {1}
    numbers = set()
    query = synthetic(20, seed=3)
    for network in (model.module.gene_ae.encoder_layers, model.module.gene_ae.decoder):
        network.register_forward_hook(lambda *_: numbers.add(torch.get_num_threads()))
    calls = [
        lambda: model.predict(query),
        lambda: model.evaluate(query, "cell_type"),
        lambda: model.explain(query[:5].copy()),
        lambda: model.get_latent_representation(query),
        lambda: model.get_reconstruction(query),
        lambda: model.adapt(query, max_steps=1, select=False, callbacks=[steps]),
    ]
    for call in calls:
        numbers.clear()
        call()
        assert numbers == {1}
    assert steps.numbers == {1}
    assert torch.get_num_threads() == 2
