"""A function is called every few epochs, in one process."""

from types import SimpleNamespace

from hrca.train._callbacks import EveryEpochs


def test_the_function_is_called_at_multiples_of_the_interval():
    epochs: list[int] = []
    callback = EveryEpochs(3, epochs.append)
    for epoch in range(7):
        callback.on_train_epoch_end(SimpleNamespace(current_epoch=epoch, is_global_zero=True), None)
    assert epochs == [3, 6]


def test_only_the_first_process_calls_it():
    epochs: list[int] = []
    callback = EveryEpochs(1, epochs.append)
    callback.on_train_epoch_end(SimpleNamespace(current_epoch=0, is_global_zero=False), None)
    assert not epochs
