"""Items that are computed at the same time, and the numbers of threads."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from hrca.prediction._parallel import one_thread, parallel_map

N_THREADS = 3
# Seconds after which threads that should meet have not met.
TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(N_THREADS)
    yield
    torch.set_num_threads(before)


def pool_sizes() -> list[tuple[str, int]]:
    return [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]


@pytest.mark.parametrize("n_items", [0, 1, 2, 20])
def test_results_come_in_the_order_of_the_items(n_items):
    with parallel_map("cpu") as map_items:
        assert list(map_items(lambda x: 2 * x, range(n_items))) == list(range(0, 2 * n_items, 2))


def test_as_many_items_are_computed_at_the_same_time_as_torch_has_threads():
    meeting = threading.Barrier(N_THREADS)
    with parallel_map("cpu") as map_items:
        assert len(set(map_items(lambda _: meeting.wait(TIMEOUT_S), range(N_THREADS)))) == N_THREADS


def test_items_are_taken_as_they_are_needed():
    taken = []
    with parallel_map("cpu") as map_items:
        results = map_items(str, (taken.append(i) or i for i in range(100)))
        assert next(results) == "0"
        assert len(taken) == N_THREADS + 1


@pytest.mark.parametrize(("n_items", "n_threads"), [(1, N_THREADS), (2, 1)])
def test_a_single_item_has_all_threads_and_several_have_one_each(n_items, n_threads):
    with parallel_map("cpu") as map_items:
        assert list(map_items(lambda _: torch.get_num_threads(), range(n_items))) == [n_threads] * n_items


def test_libraries_of_numpy_and_scikit_learn_have_one_thread_in_each():
    with parallel_map("cpu") as map_items:
        for sizes in map_items(lambda _: pool_sizes(), range(6)):
            assert {size for _, size in sizes} == {1}


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_another_device_computes_one_item_after_the_other(device):
    with parallel_map(device) as map_items:
        threads = set(map_items(lambda _: threading.get_ident(), range(6)))
    assert threads == {threading.get_ident()}


def test_the_numbers_of_threads_are_restored():
    before = pool_sizes()
    with parallel_map("cpu") as map_items:
        list(map_items(lambda _: np.ones((50, 50)) @ np.ones((50, 50)), range(6)))
    assert torch.get_num_threads() == N_THREADS
    with one_thread():
        assert torch.get_num_threads() == 1
        assert {size for _, size in pool_sizes()} == {1}
    assert torch.get_num_threads() == N_THREADS
    assert pool_sizes() == before


def refuse(item: int) -> int:
    if item == 5:
        raise ValueError("the sixth item")
    return item


@pytest.mark.parametrize(("function", "items"), [(refuse, range(100)), (str, map(refuse, range(100)))])
def test_an_error_ends_the_work_and_restores_the_threads(function, items):
    before = pool_sizes()
    with pytest.raises(ValueError, match="the sixth item"), parallel_map("cpu") as map_items:
        list(map_items(function, items))
    assert torch.get_num_threads() == N_THREADS
    assert pool_sizes() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_nested_limit_and_those_of_other_threads_restore_what_the_first_found():
    before, started, ended = pool_sizes(), threading.Event(), threading.Event()

    def limited() -> None:
        with one_thread():
            started.set()
            assert ended.wait(TIMEOUT_S)

    with one_thread():
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
        thread = threading.Thread(target=limited)
        thread.start()
        assert started.wait(TIMEOUT_S)
    ended.set()
    thread.join()
    assert torch.get_num_threads() == N_THREADS
    assert pool_sizes() == before
