"""Sparse counts of cells as tensors, on any device."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Fraction of entries above which a dense product is faster on a CPU: with a table that the cache holds, and with a
# larger one. Of 128 cells with a table of 512 columns, sparse and dense products took the same time at these fractions
# (one thread, 32 MB of cache; the backward pass also computes the gradient of the table):
#
#     genes                   300    2,000   8,000   10,000  12,000  15,000  20,000
#     forward                 > .4   .4      .31     .28     .23     .17     .11
#     forward and backward    .28    .31     .25     .23     .21     .17     .14
MAX_SPARSE_FRACTION, MAX_SPARSE_FRACTION_LARGE = 0.25, 0.12

# Bytes of a table from which on its rows come from memory. A table of 12,000 genes by 512 columns has 25 MB.
LARGE_TABLE_BYTES = 25_000_000


# tensors have no single truth value, which == of a dataclass needs
@dataclass(frozen=True, eq=False)
class SparseCounts:
    """Counts of cells, or other values of their entries, in compressed rows with sorted genes.

    Zeros are stored only if :meth:`with_values` was given them.

    Attributes
    ----------
    offsets
        Position of the first entry of each cell, and number of entries, int32, shape (n_obs + 1,).
    genes
        Gene of each entry, int32, shape (n_entries,).
    values
        Count of each entry, shape (n_entries,): float32, or float64 in training with double precision.
    n_genes
        Number of genes.
    """

    offsets: Tensor
    genes: Tensor
    values: Tensor
    n_genes: int

    @classmethod
    def from_csr(cls, counts: sparse.csr_array) -> "SparseCounts":
        """Share the arrays of a matrix of float32 and int32, shape (n_obs, n_genes), with sorted indices."""
        offsets, genes = (_to_tensor(indices, np.int32) for indices in (counts.indptr, counts.indices))
        return cls(offsets, genes, _to_tensor(counts.data, np.float32), counts.shape[1])

    @classmethod
    def from_csr_tensor(cls, counts: Tensor) -> "SparseCounts":
        """Share the parts of torch's CSR tensor, shape (n_obs, n_genes), with sorted indices."""
        offsets, genes = counts.crow_indices().int(), counts.col_indices().int()
        return cls(offsets, genes, counts.values(), counts.shape[1])

    @classmethod
    def from_dense(cls, counts: Tensor) -> "SparseCounts":
        """Return the entries other than 0 of a dense tensor, shape (n_obs, n_genes)."""
        rows, genes = counts.nonzero(as_tuple=True)
        per_cell = torch.bincount(rows, minlength=len(counts))
        return cls(_offsets(per_cell), genes.int(), counts[rows, genes], counts.shape[1])

    @staticmethod
    def concat(parts: "list[SparseCounts]") -> "SparseCounts":
        """Concatenate the cells of several batches, at least one."""
        per_cell = torch.cat([part.entries_per_cell for part in parts])
        genes, values = (torch.cat([getattr(part, name) for part in parts]) for name in ("genes", "values"))
        return SparseCounts(_offsets(per_cell), genes, values, parts[0].n_genes)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.offsets) - 1

    @property
    def device(self) -> torch.device:
        """Device of the counts."""
        return self.values.device

    @property
    def fraction_stored(self) -> float:
        """Fraction of the cells' genes that have an entry; 0 without cells."""
        return len(self.genes) / max(1, len(self) * self.n_genes)

    @property
    def entries_per_cell(self) -> Tensor:
        """Number of entries of each cell, shape (n_obs,)."""
        return self.offsets.diff()

    def to(self, device: torch.device) -> "SparseCounts":
        """Return the counts on a device."""
        offsets, genes, values = (
            part.to(device, non_blocking=True) for part in (self.offsets, self.genes, self.values)
        )
        return SparseCounts(offsets, genes, values, self.n_genes)

    def with_values(self, values: Tensor) -> "SparseCounts":
        """Return other values at the same entries, shape (n_entries,)."""
        return replace(self, values=values)

    def by_entry(self, per_cell: Tensor) -> Tensor:
        """Repeat a value of each cell, shape (n_obs,), for its entries, shape (n_entries,)."""
        return per_cell.repeat_interleave(self.entries_per_cell, output_size=len(self.genes))

    def on_genes(self, gene_mask: Tensor) -> "SparseCounts":
        """Return the entries of the genes of a mask, 0 or 1, shape (n_genes,)."""
        is_kept = gene_mask[self.genes] > 0
        return self if is_kept.all() else self._with_entries(is_kept)

    def without_zeros(self) -> "SparseCounts":
        """Return the entries other than 0. An accelerator is waited for, since it counts them."""
        return self._with_entries(self.values != 0)

    def _with_entries(self, is_kept: Tensor) -> "SparseCounts":
        """Return the chosen entries, a boolean mask of shape (n_entries,)."""
        positions = is_kept.nonzero()[:, 0]
        kept_before = F.pad(is_kept.cumsum(0, dtype=torch.int32), (1, 0))
        offsets = kept_before.index_select(0, self.offsets)
        genes, values = (part.index_select(0, positions) for part in (self.genes, self.values))
        return SparseCounts(offsets, genes, values, self.n_genes)

    def take(self, cells: Tensor) -> "SparseCounts":
        """Return the chosen cells, a boolean mask of shape (n_obs,), in order."""
        is_kept = self.by_entry(cells)
        per_cell = self.entries_per_cell[cells]
        return SparseCounts(_offsets(per_cell), self.genes[is_kept], self.values[is_kept], self.n_genes)

    def split(self, n_cells: int) -> "list[SparseCounts]":
        """Return the cells in parts of at most `n_cells`, at least one part."""
        if len(self) <= n_cells:
            return [self]
        starts = range(0, len(self), n_cells)
        bounds = self.offsets[[*starts, len(self)]].tolist()
        return [
            SparseCounts(
                self.offsets[start : start + n_cells + 1] - first,
                self.genes[first:last],
                self.values[first:last],
                self.n_genes,
            )
            for start, first, last in zip(starts, bounds, bounds[1:], strict=False)
        ]

    def to_dense(self) -> Tensor:
        """Return the values as a dense tensor, shape (n_obs, n_genes)."""
        dense = self.values.new_zeros(len(self), self.n_genes)
        dense[self.cells(), self.genes] = self.values
        return dense

    def cells(self) -> Tensor:
        """Return the cell of each entry, int32, shape (n_entries,)."""
        return self.by_entry(torch.arange(len(self), dtype=torch.int32, device=self.device))

    def to_csr(self) -> sparse.csr_array:
        """Return the values as a matrix in memory, shape (n_obs, n_genes)."""
        values, genes, offsets = (part.cpu().numpy() for part in (self.values, self.genes, self.offsets))
        return sparse.csr_array((values, genes, offsets), shape=(len(self), self.n_genes))

    def matmul(self, table: Tensor) -> Tensor:
        """Multiply the cells by a dense, contiguous table, shape (n_genes, n_columns).

        Returns
        -------
        Products, shape (n_obs, n_columns). The fraction of entries in all cells decides between two products, which
        differ in the last bits. Gradients reach the table, and not the counts.
        """
        if self._is_dense_faster(table):
            return self.to_dense().to(table.dtype) @ table
        return _SparseProduct.apply(self, table)

    def _is_dense_faster(self, table: Tensor) -> bool:
        if table.device.type != "cpu":
            return True
        is_large = table.numel() * table.element_size() > LARGE_TABLE_BYTES
        return self.fraction_stored > (MAX_SPARSE_FRACTION_LARGE if is_large else MAX_SPARSE_FRACTION)

    def sums(self) -> Tensor:
        """Return the sum of each cell, exact below 2^24, shape (n_obs,)."""
        # a matrix product would round, where a user allows TF32
        return self.values.new_zeros(len(self)).index_add_(0, self.cells(), self.values)

    def transpose(self) -> "SparseCounts":
        """Return the genes as rows, each with its sorted cells."""
        genes, order = torch.sort(self.genes, stable=True)
        starts = torch.arange(self.n_genes + 1, dtype=genes.dtype, device=self.device)
        offsets = torch.searchsorted(genes, starts, out_int32=True)
        return SparseCounts(offsets, self.cells()[order], self.values[order], len(self))


class _SparseProduct(torch.autograd.Function):
    """Sparse counts times a table, as weighted sums of its rows."""

    @staticmethod
    def forward(ctx: Any, counts: SparseCounts, table: Tensor) -> Tensor:
        ctx.counts = counts
        return _weighted_sums(counts, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        # by gene, so that each row of the gradient is written once
        return None, _weighted_sums(ctx.counts.transpose(), grad.contiguous())


def _weighted_sums(counts: SparseCounts, table: Tensor) -> Tensor:
    return F.embedding_bag(
        counts.genes,
        table,
        counts.offsets,
        mode="sum",
        per_sample_weights=counts.values.to(table.dtype),
        include_last_offset=True,
    )


def _offsets(entries_per_cell: Tensor) -> Tensor:
    return F.pad(entries_per_cell.cumsum(0, dtype=torch.int32), (1, 0))


def _to_tensor(array: np.ndarray, dtype: type) -> Tensor:
    array = array.astype(dtype, copy=False)
    # torch warns of arrays that must not be written
    return torch.from_numpy(array if array.flags.writeable else array.copy())
