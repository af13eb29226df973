"""The recorded answers are reproduced: to the last bit on the kind of machine that recorded them."""

import numpy as np
import pytest
from frozen import REAL_CASES, TINY_CASES, compute, differing, fingerprint, recorded

# Other versions of these draw other random numbers, or train in another order.
DRAWING = ("lightning", "numpy", "scikit-learn", "torch")
# Elsewhere: training adds up what another processor rounds differently.
MIN_SAME_LABELS, ATOL = 0.95, 0.05
# Ranks among few reference cells move by steps.
ATOL_RANKS = 0.2


def _check(name: str, found: dict[str, np.ndarray]) -> None:
    expected, recorded_on = recorded(name)
    here = fingerprint()
    other = [f"{package} {recorded_on[package]}" for package in DRAWING if here[package] != recorded_on[package]]
    if other:
        pytest.skip(f"recorded with {', '.join(other)}")
    if here == recorded_on:
        assert differing(found, expected) == []
        return
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert found[key].shape == values.shape
        if key.endswith("labels"):
            assert (found[key] == values).mean() >= MIN_SAME_LABELS, key
        elif key.endswith(("confidence", "probabilities")):
            np.testing.assert_allclose(found[key], values, atol=ATOL, err_msg=key)
        elif key.endswith("novelty"):
            assert np.nanmedian(np.abs(found[key] - values)) <= ATOL_RANKS, key


@pytest.mark.parametrize("name", TINY_CASES)
def test_the_tiny_model_answers_as_recorded(name):
    _check(name, compute(TINY_CASES[name]))


@pytest.mark.parametrize("name", REAL_CASES)
def test_real_pairs_are_answered_as_recorded(name, data_dir, monkeypatch):
    monkeypatch.setattr("frozen.DATA", data_dir)
    _check(name, compute(REAL_CASES[name]))


def test_a_changed_bit_is_seen():
    expected, _ = recorded("tiny")
    changed = {name: values.copy() for name, values in expected.items()}
    changed["plain_probabilities"][0, 0] = np.nextafter(changed["plain_probabilities"][0, 0], 1, dtype=np.float32)
    assert differing(changed, expected) == ["plain_probabilities"]
    del changed["plain_probabilities"]
    assert differing(changed, expected) == ["plain_probabilities"]
