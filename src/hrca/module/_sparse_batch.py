"""Sparse batches: CSR tensors of cells, without dense copies of their zeros."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

import warnings
from typing import Any

import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Fraction of stored entries above which a dense product is faster on a CPU. At 300 genes, a product with 30 % of them
# takes 1.4 ms in place of 0.9 ms; at 2,000 genes, one with 10 % takes 3.9 ms in place of 6.1 ms (forward and backward,
# one thread).
MAX_SPARSE_DENSITY = 0.15

with warnings.catch_warnings():
    # torch says once in a process that CSR tensors are in beta, and once that their indices are not checked
    # (scvi-tools' loader does not ask for it): here, and not in a user's training
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0], [], [], (0, 1))


def is_sparse(batch: Tensor) -> bool:
    """Return whether a batch is a CSR tensor."""
    return batch.layout is torch.sparse_csr


def to_csr_tensor(counts: sparse.csr_array | sparse.csr_matrix) -> Float[Tensor, "n_obs n_genes"]:
    """Return a sparse matrix of scipy as a CSR tensor of float32.

    Parameters
    ----------
    counts
        The matrix, shape (n_obs, n_genes), in CSR format.
    """
    values = torch.from_numpy(counts.data.astype("float32", copy=False))
    return csr_tensor(torch.from_numpy(counts.indptr), torch.from_numpy(counts.indices), values, counts.shape)


def csr_tensor(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a CSR tensor, without torch's checks of its indices, which take time."""
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


def with_values(batch: Float[Tensor, "n_obs n_genes"], values: Float[Tensor, " n_entries"]) -> Tensor:
    """Return a CSR tensor with the entries of another and these values."""
    return csr_tensor(batch.crow_indices(), batch.col_indices(), values, tuple(batch.shape))


def entry_rows(batch: Float[Tensor, "n_obs n_genes"]) -> Int[Tensor, " n_entries"]:
    """Return the row of each stored entry of a CSR tensor."""
    return for_entries(batch, torch.arange(batch.shape[0], device=batch.device))


def for_entries(batch: Float[Tensor, "n_obs n_genes"], row_values: Tensor) -> Tensor:
    """Return the value of its row for each stored entry of a CSR tensor, shape (n_entries,), from those of the rows."""
    n_entries = batch.crow_indices().diff().long()
    # their sum is given, since torch would otherwise wait for the device
    return torch.repeat_interleave(row_values, n_entries, output_size=batch.col_indices().shape[0])


def row_sums(batch: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs 1"]:
    """Return the sum of each row of a CSR tensor."""
    values = batch.values()
    return values.new_zeros(batch.shape[0]).index_add_(0, entry_rows(batch), values)[:, None]


def to_dense(batch: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_genes"]:
    """Return a batch as a strided tensor."""
    if not is_sparse(batch):
        return batch
    n_obs, n_genes = batch.shape
    dense = batch.values().new_zeros(n_obs * n_genes)
    dense[entry_rows(batch) * n_genes + batch.col_indices()] = batch.values()
    return dense.view(n_obs, n_genes)


def drop_zeros(batch: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_genes"]:
    """Return a CSR tensor without its stored zeros. On an accelerator they stay, since counting them would wait."""
    values = batch.values()
    if values.device.type != "cpu":
        return batch
    is_stored = values != 0
    n_before = torch.zeros(len(values) + 1, dtype=batch.crow_indices().dtype)
    torch.cumsum(is_stored, dim=0, out=n_before[1:])
    crow = n_before[batch.crow_indices().long()]
    return csr_tensor(crow, batch.col_indices()[is_stored], values[is_stored], tuple(batch.shape))


def is_dense_for_cpu(batch: Float[Tensor, "n_obs n_genes"]) -> bool:
    """Return whether a CPU is faster with a strided tensor in place of a CSR tensor."""
    n_obs, n_genes = batch.shape
    return batch.device.type == "cpu" and len(batch.values()) > MAX_SPARSE_DENSITY * n_obs * n_genes


class _SparseProduct(torch.autograd.Function):
    """A CSR tensor times a matrix, as sums of the matrix's rows; no gradient reaches the batch."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, weight: Tensor) -> Tensor:
        col, crow, values = batch.col_indices(), batch.crow_indices(), batch.values()
        ctx.save_for_backward(col, entry_rows(batch), values)
        ctx.n_genes = batch.shape[1]
        return _weighted_sums(col, crow, values, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None]:
        if not ctx.needs_input_grad[1]:
            return None, None
        col, rows, values = ctx.saved_tensors
        # by gene, so that each row of the gradient is written once
        genes, order = torch.sort(col, stable=True)
        bounds = torch.searchsorted(genes, torch.arange(ctx.n_genes + 1, device=col.device, dtype=col.dtype))
        return None, _weighted_sums(rows[order], bounds, values[order], grad.contiguous())


def _weighted_sums(index: Tensor, bounds: Tensor, values: Tensor, table: Tensor) -> Tensor:
    """Return, for each bag of entries, the sum of rows of the table times the values."""
    return F.embedding_bag(
        index,
        table,
        bounds.to(index.dtype),
        mode="sum",
        per_sample_weights=values.to(table.dtype),
        include_last_offset=True,
    )


class InputMajorLinear(nn.Module):
    """A linear layer for sparse batches: the weights of an input lie together in memory.

    Its initial weights and its state dict are those of :class:`torch.nn.Linear`.

    Parameters
    ----------
    n_in
        Number of inputs.
    n_out
        Number of outputs.

    Examples
    --------
    >>> layer = InputMajorLinear(2, 1)
    >>> _ = layer.load_state_dict({"weight": torch.tensor([[1.0, 3.0]]), "bias": torch.tensor([0.5])})
    >>> layer(to_csr_tensor(sparse.csr_matrix([[0.0, 2.0], [0.0, 0.0]]))).detach()
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

    def forward(self, batch: Float[Tensor, "n_obs n_in"]) -> Float[Tensor, "n_obs n_out"]:
        """Apply the layer to a batch, dense or a CSR tensor. No gradient reaches a CSR tensor.

        Parameters
        ----------
        batch
            The cells, shape (n_obs, n_in).

        Returns
        -------
        The output, shape (n_obs, n_out).
        """
        if is_sparse(batch) and batch.device.type == "cpu" and not is_dense_for_cpu(batch):
            return _SparseProduct.apply(batch, self.input_weight) + self.bias
        # an accelerator is faster with the zeros
        return F.linear(to_dense(batch), self.weight, self.bias)

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
