"""What the machine can do, and the least time that the arithmetic of a method needs on it.

    python -m benchmarks.cost.roofline

It prints the speed of a matrix product in single precision and the bandwidth of the memory, measured on the threads of
this process, as JSON.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .published_style import PublishedStyle

WIDTH = 2048
# Larger than the last cache of common processors.
N_COPIED_BYTES = 512 * 1024**2
N_REPEATS = 5
# A weight takes one multiply-add forward and two backward. Adam reads the weight, its gradient and two moments, and
# writes all but the gradient.
OPERATIONS_FORWARD, OPERATIONS_TRAINING = 2, 6
BYTES_ADAM = 7 * 4
BYTES_CSR_ENTRY, BYTES_FLOAT = 8, 4


@dataclass(frozen=True)
class Work:
    """Arithmetic and memory traffic that an operation cannot do without.

    Attributes
    ----------
    operations
        Floating-point operations, those on zeros of the counts left out.
    dense_operations
        The same with the zeros, as a dense matrix product computes them.
    n_bytes
        Bytes that are read or written at least once: counts, weights and results.
    """

    operations: float
    dense_operations: float
    n_bytes: float


def measure() -> dict[str, float]:
    """Measure both speeds: the best of some repeats, because others may use the machine."""
    rows = torch.ones(WIDTH, WIDTH)
    source = np.ones(N_COPIED_BYTES // 8)
    target = np.empty_like(source)
    product_s = min(_seconds(lambda: torch.mm(rows, rows)) for _ in range(N_REPEATS))
    copy_s = min(_seconds(lambda: np.copyto(target, source)) for _ in range(N_REPEATS))
    # a copy reads and writes each byte
    return {"sgemm_gflops": 2 * WIDTH**3 / product_s / 1e9, "bandwidth_gb_s": 2 * N_COPIED_BYTES / copy_s / 1e9}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def floor_s(operations: float, n_bytes: float, machine: Mapping[str, float]) -> float:
    """Return the seconds of the roofline: the slower of arithmetic and memory, each at the speed of the machine."""
    return max(operations / machine["sgemm_gflops"], n_bytes / machine["bandwidth_gb_s"]) / 1e9


def network_work(
    sizes: Mapping[str, Any], *, n_obs: int, n_genes: int, n_labels: int, n_nonzero: int, phase: str
) -> Work:
    """Count the work of HRCA's networks.

    Parameters
    ----------
    sizes
        Sizes of the networks, an entry of ``hrca.SIZES``.
    n_obs
        Number of cells: of the query, or of one batch.
    n_genes
        Number of genes.
    n_labels
        Number of labels.
    n_nonzero
        Number of counts of these cells that are not zero.
    phase
        "predict", or "pretrain" or "finetune" for one step of training.
    """
    with torch.device("meta"):
        networks = PublishedStyle(n_genes, n_labels, sizes)
    parts = {"predict": ("encoder", "se_classifier"), "pretrain": ("gene_ae",)}.get(phase, ("gene_ae", "se_classifier"))
    weights = sum(p.numel() for name, p in networks.named_parameters() if any(part in name for part in parts))
    # the scores of one head: the squared number of its features, for queries and for values
    n_scores = sizes["n_layers"] * sizes["n_latent"] ** 2 // sizes["n_heads"]
    first_layer = n_genes * sizes["n_hidden"]
    operations = OPERATIONS_FORWARD if phase == "predict" else OPERATIONS_TRAINING
    dense = operations * n_obs * (weights + 2 * n_scores)
    sparse = dense - operations * sizes["n_hidden"] * (n_obs * n_genes - n_nonzero)
    n_bytes = BYTES_CSR_ENTRY * n_nonzero + BYTES_FLOAT * n_obs * n_labels
    n_bytes += weights * (BYTES_FLOAT if phase == "predict" else BYTES_ADAM)
    if phase != "predict":
        # the gradient of the first layer is that of the counts that are not zero, its update is not
        sparse = max(sparse, operations * n_obs * (weights - first_layer))
    return Work(sparse, dense, n_bytes)


def linear_work(*, n_obs: int, n_genes: int, n_labels: int, n_nonzero: int, n_passes: int) -> Work:
    """Count the work of products of the counts with one profile for each label."""
    n_bytes = BYTES_CSR_ENTRY * n_nonzero + BYTES_FLOAT * n_labels * (n_obs + n_genes)
    operations = OPERATIONS_FORWARD * n_passes * n_labels
    return Work(operations * n_nonzero, operations * n_obs * n_genes, n_bytes)


if __name__ == "__main__":
    print(json.dumps(measure()))
