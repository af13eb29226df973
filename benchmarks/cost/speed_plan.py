"""What the speed benchmark measures: one factor at a time is changed from a base point."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

OTHERS = ("celltypist", "scanvi", "singler", "likelihood")
# Operations that take long, and are measured once; the others are repeated, the methods in turn.
ONCE = ("train", "adapt")
STEPS = ("pre-training step", "fine-tuning step")
PREDICTIONS = ("predict", "predict without novelty")
BASE = {"n_genes": 5_000, "size": "laptop", "n_labels": 15, "depth": "equal", "n_obs": 5_000, "n_reference": 5_000}
# The names by which a row is found again.
PARTS = ("start", "grid", "published", "threads")
KEY = ("part", "method", "operation", *BASE, "threads", "wait_policy", "busy")


@dataclass(frozen=True)
class Point:
    """Cells, threads, and the operations that are measured there.

    Attributes
    ----------
    part
        One of :data:`PARTS`.
    operations
        The operations of each method.
    cells
        Numbers that describe cells and networks, by the names in :data:`BASE`.
    threads
        Number of threads.
    wait_policy
        OMP_WAIT_POLICY; empty for the default of the library.
    busy
        Number of these CPUs that another process keeps busy meanwhile.
    min_cpus
        Number of CPUs that a method may use, if this is more than its threads.
    """

    part: str
    operations: Mapping[str, tuple[str, ...]]
    cells: dict[str, Any] = field(default_factory=lambda: BASE)
    threads: int = 1
    wait_policy: str = ""
    busy: int = 0
    min_cpus: int = 1

    @property
    def n_cpus(self) -> int:
        """Number of CPUs that a method may use."""
        return max(self.threads, self.min_cpus)

    def key(self, method: str, operation: str) -> dict[str, Any]:
        """Return the columns that identify a row of this point."""
        cells = {"part": self.part, "method": method, "operation": operation, **self.cells}
        return cells | {"threads": self.threads, "wait_policy": self.wait_policy, "busy": self.busy}


def points(*, quick: bool) -> list[Point]:
    """List the points, the most important first.

    Parameters
    ----------
    quick
        True for few cells, two numbers of genes and short trainings, which only shows that everything runs.
    """
    if quick:
        return _quick_points()
    others = dict.fromkeys(OTHERS, ("predict",)) | dict.fromkeys(("celltypist", "singler"), ("train", "predict"))
    everything = {"hrca": ("train", "adapt", *STEPS, *PREDICTIONS), **others}
    predictions = {"hrca": PREDICTIONS, **others}
    return [
        *(_grid(everything, n_genes=n_genes) for n_genes in (5_000, 300, 20_000)),
        *published_points((1_000, 20_000), "specification", n_obs=512),
        *(_grid(predictions, depth=depth) for depth in ("shallow", "deep")),
        *(_grid({"hrca": PREDICTIONS, "likelihood": ("predict",)}, n_obs=n_obs) for n_obs in (1_000, 20_000)),
        _grid(dict.fromkeys(("hrca", "celltypist", "scanvi"), ("predict",)), n_obs=100_000),
        *(_grid(predictions, n_labels=n_labels) for n_labels in (100, 500)),
        *thread_points(n_obs=50_000),
        *(_grid({"hrca": ("train",)}, n_genes=300, n_reference=n_cells) for n_cells in (20_000, 50_000, 200_000)),
        *(
            _grid({"hrca": (*STEPS, *PREDICTIONS)}, size=size, n_obs=1_000, n_reference=1_000)
            for size in ("workstation", "specification")
        ),
    ]


def _grid(operations: Mapping[str, tuple[str, ...]], **changes: Any) -> Point:
    return Point("grid", operations, BASE | changes)


def published_points(numbers_of_genes: tuple[int, ...], size: str, n_obs: int) -> list[Point]:
    """Compare HRCA with the plain model in the published style, on two threads."""
    methods = {"hrca": (*STEPS, *PREDICTIONS), "published": (*STEPS, "predict")}
    cells = {**BASE, "size": size, "n_obs": n_obs, "n_reference": 1_000}
    return [Point("published", methods, cells | {"n_genes": n_genes}, threads=2) for n_genes in numbers_of_genes]


def thread_points(n_obs: int) -> list[Point]:
    """Compare one thread and two on two CPUs, with both policies of waiting, alone and beside a busy process."""
    cells = {**BASE, "n_genes": 300, "n_obs": n_obs, "n_reference": 1_000}
    # one thread, too, may use the CPU that is not busy
    point = Point("threads", {"hrca": (*STEPS, *PREDICTIONS)}, cells, min_cpus=2)
    ways = [(1, ""), (2, ""), (2, "PASSIVE")]
    return [replace(point, threads=n, wait_policy=policy, busy=busy) for busy in (0, 1) for n, policy in ways]


def _quick_points() -> list[Point]:
    small = {"size": "laptop", "n_labels": 5, "n_obs": 300, "n_reference": 300}
    methods = {"hrca": PREDICTIONS, **dict.fromkeys(OTHERS, ("predict",))}
    thread_point = replace(thread_points(300)[2], cells={**BASE, **small, "n_genes": 300}, operations={"hrca": STEPS})
    return [
        *(_grid(methods, n_genes=n_genes, **small) for n_genes in (300, 2_000)),
        replace(published_points((300,), "laptop", n_obs=300)[0], cells={**BASE, **small, "n_genes": 300}),
        thread_point,
    ]
