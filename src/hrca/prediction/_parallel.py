"""Threads of the prediction: each computes alone, and several compute different cells at the same time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


class _SharedLimits:
    """Limits that all threads of the process share: the last thread that ends restores what the first one found."""

    def __init__(self) -> None:
        self._lock, self._n_users = Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let BLAS and torch compute with one thread."""
        with self._lock:
            n_torch = torch.get_num_threads()
            if self._n_users == 0:
                self._n_torch, self._blas = n_torch, _threadpools().limit(limits=1, user_api="blas")
            self._n_users += 1
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._n_users -= 1
                if self._n_users == 0:
                    self._blas.restore_original_limits()
                    n_torch = self._n_torch
                torch.set_num_threads(n_torch)


_shared_limits = _SharedLimits()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, BLAS and OpenMP compute with one thread, and restore their numbers afterwards.

    Threads that share an operation wait for each other after each part of it, and keep their CPUs busy meanwhile. For
    small arrays, this takes longer than one thread alone.
    """
    # OpenMP's number is that of the calling thread
    with _shared_limits(), _threadpools().limit(limits=1, user_api="openmp"):
        yield


class ParallelMap:
    """A `map` that computes as many items at the same time as torch has threads, each in one thread.

    Parameters
    ----------
    n_threads
        Number of threads.
    pool
        The threads.
    """

    def __init__(self, n_threads: int, pool: ThreadPoolExecutor):
        self._n_threads, self._pool = n_threads, pool

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Iterate over the results in the order of the items.

        Parameters
        ----------
        function
            The function.
        items
            The items. They are taken in the calling thread, as they are needed.

        Yields
        ------
        The result of each item. A single item is computed by all threads.
        """
        items = iter(items)
        first = list(islice(items, 2))
        if len(first) < 2:
            torch.set_num_threads(self._n_threads)
        if len(first) < 2 or self._n_threads == 1:
            yield from map(function, chain(first, items))
            return
        pending: deque[Future[Result]] = deque()
        for item in chain(first, items):
            pending.append(self._pool.submit(function, item))
            if len(pending) > self._n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextmanager
def parallel_map(device: str) -> Iterator[ParallelMap]:
    """Make a :class:`ParallelMap`, and restore the numbers of threads afterwards.

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
    n_threads = torch.get_num_threads() if device == "cpu" else 1
    pool = ThreadPoolExecutor(n_threads, initializer=lambda: _threadpools().limit(limits=1, user_api="openmp"))
    with one_thread():
        try:
            yield ParallelMap(n_threads, pool)
        finally:
            pool.shutdown(cancel_futures=True)


@cache
def _threadpools() -> ThreadpoolController:
    """Return the thread pools of the libraries that are loaded; finding them takes some milliseconds."""
    return ThreadpoolController()
