"""Estimate of the time that an epoch takes on this CPU."""

import time
from statistics import median

import torch
from scvi.model._utils import parse_device_args
from torch import nn

from hrca.module._components import FeatureSelfAttention
from hrca.module._sparse_linear import InputMajorLinear

# A weight takes one multiply-add forward and two backward, of two operations each.
OPERATIONS_PER_WEIGHT = 6
# Cost of one attention score, forward and backward, in operations of a matrix product; and seconds of Adam for each
# parameter and step. With these the estimate is within a factor of 2.5 of the measured time at every size and number of
# genes in benchmarks/results/cost/training.csv.
OPERATIONS_PER_SCORE = 300
SECONDS_PER_PARAMETER_STEP = 1.5e-9
# Seconds of a step that are no arithmetic: the batch, the calls of operations, the records. A step of 300 genes at
# laptop size takes 18 to 21 ms, and its arithmetic 9 (benchmarks/results/cost/speed.csv).
SECONDS_PER_STEP = 0.01
# Width of the square matrix whose product measures the speed: large enough that memory access does not dominate.
PROBE_WIDTH = 1024
# Maximum number of rows of the other matrix: a larger batch is not faster for each cell, and may not fit in memory.
MAX_PROBE_ROWS = 512
# Number of products, of which the median counts: starting threads slows the first, and other programs the others.
N_PROBES = 5


def uses_accelerator(accelerator: str) -> bool:
    """Return whether training runs on another device than the CPU."""
    return parse_device_args(accelerator=accelerator, devices="auto", return_device="torch")[0] != "cpu"


def n_accelerators(kind: str) -> int:
    """Return the number of devices that PyTorch can use.

    Parameters
    ----------
    kind
        "gpu" or "mps".

    Examples
    --------
    >>> n_accelerators("gpu") == torch.cuda.device_count()
    True
    """
    return torch.cuda.device_count() if kind == "gpu" else int(torch.backends.mps.is_available())


def estimate_epoch_seconds(module: nn.Module, *, n_obs: int, batch_size: int) -> float:
    """Estimate the seconds that one epoch takes on this machine's CPU, from its speed in a matrix product.

    Parameters
    ----------
    module
        The networks.
    n_obs
        Number of cells in an epoch.
    batch_size
        Number of cells in a batch.
    """
    linears = [layer for layer in module.modules() if isinstance(layer, nn.Linear | InputMajorLinear)]
    n_weights = sum(layer.weight.numel() for layer in linears)
    attentions = [layer for layer in module.modules() if isinstance(layer, FeatureSelfAttention)]
    n_scores = sum(layer.query.in_features**2 // layer.n_heads for layer in attentions)
    operations = n_obs * (OPERATIONS_PER_WEIGHT * n_weights + OPERATIONS_PER_SCORE * n_scores)
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    n_steps = -(-n_obs // batch_size)
    step_seconds = n_parameters * SECONDS_PER_PARAMETER_STEP + SECONDS_PER_STEP
    return operations / _operations_per_second(batch_size) + n_steps * step_seconds


def _operations_per_second(batch_size: int) -> float:
    # ones, not random numbers: a resumed training must find the generators as they were
    n_rows = min(batch_size, MAX_PROBE_ROWS)
    rows, weights = torch.ones(n_rows, PROBE_WIDTH), torch.ones(PROBE_WIDTH, PROBE_WIDTH)
    seconds = []
    for _ in range(N_PROBES):
        start = time.perf_counter()
        torch.mm(rows, weights)
        seconds.append(time.perf_counter() - start)
    return 2 * n_rows * PROBE_WIDTH**2 / median(seconds)
