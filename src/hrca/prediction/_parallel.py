"""Batches of a prediction that several threads compute at the same time, one thread for each batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

# Maximum number of batches that are computed at the same time. Each further thread takes about 0.1 GB
# (docs/large_files.md). Not tuned.
MAX_WORKERS = 8

Item = TypeVar("Item")
Result = TypeVar("Result")

# Held by the thread that has limited BLAS.
_blas_is_limited = Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, BLAS and OpenMP compute with one thread, and restore their numbers afterwards.

    Threads that share an operation wait for each other after each part of it, and keep their CPUs busy meanwhile. For
    small arrays, this takes longer than one thread alone.
    """
    # found each time, which takes some milliseconds: a library may have been loaded since
    libraries = ThreadpoolController()
    with _one_torch_thread(), libraries.select(user_api="openmp").limit(limits=1), _one_blas_thread(libraries):
        yield


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(found)


@contextmanager
def _one_blas_thread(libraries: ThreadpoolController) -> Iterator[None]:
    """Limit BLAS, unless another thread or a caller already does: BLAS has one number for the process."""
    if not _blas_is_limited.acquire(blocking=False):
        yield
        return
    try:
        with libraries.select(user_api="blas").limit(limits=1):
            yield
    finally:
        _blas_is_limited.release()


class ParallelMap:
    """A `map` that computes several items at the same time, each in one thread.

    Parameters
    ----------
    n_torch
        Number of torch's threads for a single item.
    n_workers
        Number of items that are computed at the same time.
    pool
        As many threads.
    """

    def __init__(self, n_torch: int, n_workers: int, pool: ThreadPoolExecutor):
        self._n_torch, self._n_workers, self._pool = n_torch, n_workers, pool

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Iterate over the results in the order of the items.

        Parameters
        ----------
        function
            Computes the result of an item, in any thread. Settings of the calling thread, such as torch's autocast,
            do not hold there.
        items
            Taken in the calling thread. At most `n_workers` + 1 are in memory.

        Yields
        ------
        The result of each item. A single item is computed in the calling thread, by all threads of torch.
        """
        items = iter(items)
        first = list(islice(items, 2))
        # of an iterator, `chain` keeps no item
        is_single, items = len(first) < 2, chain(iter(first), items)
        del first
        if is_single:
            yield from map(self._with_all_threads(function), items)
        elif self._n_workers == 1:
            yield from map(function, items)
        else:
            pending: deque[Future[Result]] = deque()
            for item in items:
                pending.append(self._pool.submit(function, item))
                if len(pending) > self._n_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _with_all_threads(self, function: Callable[[Item], Result]) -> Callable[[Item], Result]:
        def computed(item: Item) -> Result:
            inside = torch.get_num_threads()
            torch.set_num_threads(self._n_torch)
            try:
                return function(item)
            finally:
                torch.set_num_threads(inside)

        return computed


@contextmanager
def parallel_map(device: str) -> Iterator[ParallelMap]:
    """Make a :class:`ParallelMap`, and restore the numbers of threads afterwards.

    It has as many threads as torch, and at most eight.

    Parameters
    ----------
    device
        Type of the device that computes. Anything but "cpu" computes one item after the other.

    Examples
    --------
    >>> with parallel_map("cpu") as map_items:
    ...     list(map_items(str, range(3)))
    ['0', '1', '2']
    """
    n_torch, is_cpu = torch.get_num_threads(), device == "cpu"
    n_workers = min(n_torch, MAX_WORKERS) if is_cpu else 1
    pool = ThreadPoolExecutor(n_workers, "hrca", initializer=lambda: torch.set_num_threads(1))
    with _one_torch_thread() if is_cpu else nullcontext():
        try:
            yield ParallelMap(n_torch, n_workers, pool)
        finally:
            pool.shutdown(cancel_futures=True)
