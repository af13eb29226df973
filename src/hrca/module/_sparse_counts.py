"""Sparse counts of cells as tensors, on any device."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from ._transforms import TARGET_SUM

# Fraction of entries above which a dense product is faster on a CPU: with a table that the cache holds, and with a
# larger one. Products with 512 columns took the same time at .35 (300 and 2,000 genes) and at .09 (20,000 genes).
MAX_SPARSE_FRACTION, MAX_SPARSE_FRACTION_LARGE = 0.3, 0.1

# Bytes of a table from which on its rows come from memory. A table of 2,000 genes by 512 columns has 4 MB, one of
# 20,000 genes 41 MB.
LARGE_TABLE_BYTES = 16_000_000


@dataclass(frozen=True)
class SparseCounts:
    """Counts of cells in compressed rows, with sorted genes and no zeros.

    Attributes
    ----------
    offsets
        Position of the first entry of each cell, and number of entries, int32, shape (n_obs + 1,).
    genes
        Gene of each entry, int32, shape (n_entries,).
    values
        Count of each entry, float32, shape (n_entries,).
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
    def from_dense(cls, counts: Tensor) -> "SparseCounts":
        """Return the entries other than 0 of a dense tensor, shape (n_obs, n_genes)."""
        rows, genes = counts.nonzero(as_tuple=True)
        per_cell = torch.bincount(rows, minlength=len(counts))
        return cls(_offsets(per_cell), genes.int(), counts[rows, genes].float(), counts.shape[1])

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
        if is_kept.all():
            return self
        kept_before = F.pad(is_kept.cumsum(0, dtype=torch.int32), (1, 0))
        return SparseCounts(kept_before[self.offsets], self.genes[is_kept], self.values[is_kept], self.n_genes)

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
        rows = self.by_entry(torch.arange(len(self), device=self.offsets.device))
        dense = self.values.new_zeros(len(self), self.n_genes)
        dense[rows, self.genes.long()] = self.values
        return dense

    def to_csr(self) -> sparse.csr_array:
        """Return the values as a matrix in memory, shape (n_obs, n_genes)."""
        values, genes, offsets = (part.cpu().numpy() for part in (self.values, self.genes, self.offsets))
        return sparse.csr_array((values, genes, offsets), shape=(len(self), self.n_genes))

    def matmul(self, table: Tensor) -> Tensor:
        """Multiply the cells by a dense, contiguous table, shape (n_genes, n_columns).

        Returns
        -------
        Products, shape (n_obs, n_columns). The fraction of entries in all cells decides between two products, which
        differ in the last bits.
        """
        if self._is_dense_faster(table):
            return self.to_dense() @ table
        return F.embedding_bag(
            self.genes, table, self.offsets, mode="sum", per_sample_weights=self.values, include_last_offset=True
        )

    def _is_dense_faster(self, table: Tensor) -> bool:
        if table.device.type != "cpu":
            return True
        is_large = table.numel() * table.element_size() > LARGE_TABLE_BYTES
        limit = MAX_SPARSE_FRACTION_LARGE if is_large else MAX_SPARSE_FRACTION
        return len(self.genes) > limit * len(self) * self.n_genes

    def log_normalize(self) -> "SparseCounts":
        """Return the log of one plus the counts per 10,000; see :func:`hrca.module._transforms.log_normalize`."""
        scale = TARGET_SUM / self.sums().clamp(min=1)
        return self.with_values(torch.log1p(self.values * self.by_entry(scale)))

    def sums(self) -> Tensor:
        """Return the sum of each cell, exact below 2^24, shape (n_obs,)."""
        rows = self.by_entry(torch.arange(len(self), device=self.values.device))
        # a matrix product would round, where a user allows TF32
        return self.values.new_zeros(len(self)).index_add_(0, rows, self.values)


def _offsets(entries_per_cell: Tensor) -> Tensor:
    return F.pad(entries_per_cell.cumsum(0, dtype=torch.int32), (1, 0))


def _to_tensor(array: np.ndarray, dtype: type) -> Tensor:
    array = array.astype(dtype, copy=False)
    # torch warns of arrays that must not be written
    return torch.from_numpy(array if array.flags.writeable else array.copy())
