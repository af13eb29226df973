"""A linear layer for sparse counts."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ._sparse_counts import SparseCounts


class InputMajorLinear(nn.Module):
    """A linear layer for sparse counts: the weights of an input lie together in memory.

    Its initial weights and its state dict are those of :class:`torch.nn.Linear`.

    Parameters
    ----------
    n_in
        Number of inputs.
    n_out
        Number of outputs.

    Examples
    --------
    >>> import torch
    >>> layer = InputMajorLinear(2, 1)
    >>> _ = layer.load_state_dict({"weight": torch.tensor([[1.0, 3.0]]), "bias": torch.tensor([0.5])})
    >>> layer(SparseCounts.from_dense(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))).detach()
    tensor([[6.5000],
            [0.5000]])
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.in_features, self.out_features = n_in, n_out
        # a transposed view as the parameter would do as well, but torch's fused Adam copies it in every step
        linear = nn.Linear(n_in, n_out)
        self.input_weight = nn.Parameter(linear.weight.detach().t().contiguous())
        self.bias = linear.bias

    @property
    def weight(self) -> Float[Tensor, "n_out n_in"]:
        """The weights as :class:`torch.nn.Linear` has them, a view of shape (n_out, n_in)."""
        return self.input_weight.t()

    def forward(self, x: Float[Tensor, "n_obs n_in"] | SparseCounts) -> Float[Tensor, "n_obs n_out"]:
        """Apply the layer. No gradient reaches sparse counts.

        Parameters
        ----------
        x
            Inputs of the cells, shape (n_obs, n_in), dense or sparse.

        Returns
        -------
        The output, shape (n_obs, n_out).
        """
        if isinstance(x, SparseCounts):
            return x.matmul(self.input_weight) + self.bias
        return F.linear(x, self.weight, self.bias)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = destination.pop(prefix + "input_weight").t()
        # in the order of torch.nn.Linear
        destination[prefix + "bias"] = destination.pop(prefix + "bias")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        stored = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        if "weight" in stored:
            stored["input_weight"] = stored.pop("weight").t()
        super()._load_from_state_dict({prefix + name: value for name, value in stored.items()}, prefix, *args)
        # the third argument after `prefix` lists the missing keys; a file has the name of torch.nn.Linear
        missing_keys = args[2]
        missing_keys[:] = [key.replace(prefix + "input_weight", prefix + "weight") for key in missing_keys]
