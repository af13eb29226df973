"""Items that are computed at the same time, and the numbers of threads."""

import threading
import weakref
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from hrca.prediction import _parallel
from hrca.prediction._parallel import one_thread, parallel_map

N_THREADS = 3
# Seconds after which threads that should meet have not met.
TIMEOUT_S = 60


class Item:
    """Something that is or is not in memory."""


def numbers_of_threads() -> list[int]:
    """Return the numbers of torch, and of the libraries of NumPy and scikit-learn, in the calling thread."""
    return [torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())]


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    """Give each library three threads, whatever the environment says, and check that they are restored."""
    found = torch.get_num_threads()
    # not by `with`: this thread would then own the number of BLAS, and others could not change it
    limits = threadpool_limits(N_THREADS)
    torch.set_num_threads(N_THREADS)
    yield
    left = set(numbers_of_threads())
    limits.restore_original_limits()
    torch.set_num_threads(found)
    assert left == {N_THREADS}


@pytest.mark.parametrize("n_items", [0, 1, 2, 20])
def test_results_come_in_the_order_of_the_items(n_items):
    with parallel_map("cpu") as map_items:
        assert list(map_items(lambda x: 2 * x, range(n_items))) == list(range(0, 2 * n_items, 2))


@pytest.mark.parametrize(("max_workers", "n_workers"), [(8, N_THREADS), (2, 2)])
def test_several_items_are_computed_at_the_same_time(max_workers, n_workers, monkeypatch):
    monkeypatch.setattr(_parallel, "MAX_WORKERS", max_workers)
    meeting, taken = threading.Barrier(n_workers), []
    with parallel_map("cpu") as map_items:
        results = map_items(lambda _: meeting.wait(TIMEOUT_S), (taken.append(i) or i for i in range(n_workers * 20)))
        next(results)
        assert len(taken) == n_workers + 1
        assert len(list(results)) == n_workers * 20 - 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_items_are_not_kept(device):
    items = [Item() for _ in range(20)]
    references = [weakref.ref(item) for item in items]
    with parallel_map(device) as map_items:
        results = map_items(lambda item: None, (items.pop(0) for _ in range(20)))
        for _ in range(10):
            next(results)
    # the threads, which may still have held an item, have ended
    assert [reference() for reference in references[:10]] == [None] * 10
    results.close()


@pytest.mark.parametrize(("n_items", "n_threads"), [(1, N_THREADS), (2, 1), (20, 1)])
def test_a_single_item_has_all_threads_of_torch_and_several_have_one_each(n_items, n_threads):
    with parallel_map("cpu") as map_items:
        assert list(map_items(lambda _: torch.get_num_threads(), range(n_items))) == [n_threads] * n_items
        assert torch.get_num_threads() == 1


def test_a_prediction_in_another_thread_does_not_raise_the_numbers():
    def predict() -> None:
        torch.set_num_threads(2)
        with one_thread():
            pass

    with parallel_map("cpu") as map_items:
        thread = threading.Thread(target=predict)
        thread.start()
        thread.join()
        assert set(map_items(lambda _: torch.get_num_threads(), range(20))) == {1}


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_another_device_computes_one_item_after_the_other(device):
    with parallel_map(device) as map_items:
        found = set(map_items(lambda _: (threading.get_ident(), torch.get_num_threads()), range(6)))
    assert found == {(threading.get_ident(), N_THREADS)}


def reject(item: int) -> int:
    if item == 5:
        raise ValueError("the sixth item")
    return item


@pytest.mark.parametrize(("function", "items"), [(reject, range(100)), (str, map(reject, range(100)))])
def test_an_error_ends_the_work(function, items):
    with pytest.raises(ValueError, match="the sixth item"), parallel_map("cpu") as map_items:
        list(map_items(function, items))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hrca")]


def test_one_thread_holds_for_every_library():
    with one_thread():
        assert set(numbers_of_threads()) == {1}


def test_nested_limits_restore_what_the_outer_one_found():
    with one_thread():
        with one_thread(), parallel_map("cpu") as map_items:
            assert set(map_items(lambda _: threading.get_ident(), range(6))) == {threading.get_ident()}
        assert set(numbers_of_threads()) == {1}


@pytest.mark.parametrize("leaves_first", [True, False])
def test_limits_in_two_threads_restore_the_number_of_each(leaves_first):
    entered, leave, after = threading.Event(), threading.Event(), []

    def limited() -> None:
        torch.set_num_threads(2)
        with one_thread():
            entered.set()
            assert leave.wait(TIMEOUT_S)
        after.append(torch.get_num_threads())

    thread = threading.Thread(target=limited)
    with one_thread():
        thread.start()
        assert entered.wait(TIMEOUT_S)
        if leaves_first:
            leave.set()
            thread.join()
            assert set(numbers_of_threads()) == {1}
    leave.set()
    thread.join()
    assert after == [2]
