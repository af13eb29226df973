"""Bounded minimisation, on a quadratic function."""

import torch

from hrca.module._optimize import minimize_bounded

TARGET = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)


def distance(parameters: torch.Tensor) -> torch.Tensor:
    return (parameters - TARGET).square().sum()


def test_the_minimum_is_found_also_without_gradients_around():
    limit = torch.full((3,), 10.0).double()
    with torch.no_grad():
        found = minimize_bounded(distance, torch.zeros(3).double(), -limit, limit)
    torch.testing.assert_close(found, TARGET, rtol=0, atol=1e-5)


def test_bounds_hold_and_the_start_stays():
    start, limit = torch.zeros(3).double(), torch.tensor([3.0, 1.0, 2.0]).double()
    found = minimize_bounded(distance, start, -limit, limit)
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0, 2.0]).double(), rtol=0, atol=1e-5)
    assert not start.any()
