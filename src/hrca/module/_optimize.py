"""Minimisation of a differentiable loss of few parameters."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor


def minimize_bounded(loss: Callable[[Tensor], Tensor], start: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Minimise a loss by L-BFGS-B, with gradients from autograd.

    Parameters
    ----------
    loss
        Function of the parameters, shape (n_parameters,), that returns a scalar.
    start
        Initial parameters, shape (n_parameters,), float64, on the CPU.
    lower
        Smallest values, shape (n_parameters,).
    upper
        Largest values, shape (n_parameters,).

    Returns
    -------
    Parameters at the minimum, shape (n_parameters,), float64.
    """

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).requires_grad_(True)
        value = loss(parameters)
        (gradient,) = torch.autograd.grad(value, parameters)
        return value.item(), gradient.numpy()

    bounds = list(zip(lower.tolist(), upper.tolist(), strict=True))
    with torch.enable_grad():
        result = minimize(value_and_gradient, start.numpy(), jac=True, method="L-BFGS-B", bounds=bounds)
    return torch.from_numpy(result.x)
