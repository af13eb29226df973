"""The methods of HRCA that return what Gene-AE computes: latent features, reconstruction, normalised expression."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from hrca._docs import docs
from hrca._unsupported import PREDICT_UNSUPPORTED, raises_for
from hrca.data._cell_selection import CellIndices
from hrca.data._query import Query
from hrca.data._sources import QueryInput
from hrca.prediction._forward import write_network_outputs
from hrca.train._config import resolve_batch_size

from ._base import PREDICTION_BATCH_SIZE, HRCABase
from ._threads import within_cpu_quota

# Smallest sum of a cell's expression that is divided by, where a reconstruction has no positive value.
TINY = 1e-12


class RepresentationMixin(HRCABase):
    """Latent features and expression of :class:`hrca.HRCA`."""

    @raises_for(PREDICT_UNSUPPORTED)
    @docs.dedent
    def get_latent_representation(
        self,
        adata: QueryInput | None = None,
        indices: CellIndices | None = None,
        *,
        layer: str | None = None,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
    ) -> np.ndarray:
        """Return Gene-AE's latent features of each cell.

        Parameters
        ----------
        %(query_or_reference)s
        %(indices)s
        %(layer)s
        %(prediction_batch_size)s

        Returns
        -------
        Latent features, shape (n_obs, n_latent), float32; with `indices`, a row for each of these, in their order.

        Raises
        ------
        %(raises_query)s
        ValueError
            If no phase has been trained.

        %(example_trained)s
        >>> model.get_latent_representation(reference[:50]).shape
        (50, 128)
        """
        self._check_pretrained()
        query = self._open_query(adata, layer, indices=indices)
        n_latent = int(self.module.gene_ae.sizes["n_latent"])
        return self._outputs(self.module.encode, query, n_latent, batch_size)

    @raises_for(PREDICT_UNSUPPORTED)
    @docs.dedent
    def get_normalized_expression(
        self,
        adata: QueryInput | None = None,
        indices: CellIndices | None = None,
        *,
        gene_list: list[str] | None = None,
        library_size: float = 1,
        n_samples: int = 1,
        return_numpy: bool = False,
        layer: str | None = None,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
    ) -> pd.DataFrame | np.ndarray:
        """Return the frequency of each gene in each cell, on the scale of scvi-tools.

        The frequencies are those of :meth:`get_reconstruction` without the logarithm; negative values are set to zero.
        The sum over all genes of the model is `library_size`.

        Parameters
        ----------
        %(query_or_reference)s
        %(indices)s
        %(gene_list)s
        library_size
            Sum of a cell over all genes of the model: 1 for frequencies, 1e4 for counts per 10,000.
        n_samples
            Number of samples, whose mean is returned. The reconstruction is not random, so each sample is the same.
        return_numpy
            If True, return an array.
        %(layer)s
        %(prediction_batch_size)s

        Returns
        -------
        Table of n_obs x len(gene_list), float32; with `return_numpy` an array. A cell without counts is reconstructed
        like any other.

        Raises
        ------
        %(raises_query)s
        ValueError
            If no phase has been trained; a gene is not one of the model's; `library_size` is not a number above 0
            ("latent" is not supported); or `n_samples` is below 1.

        %(example_trained)s
        >>> genes = ["CD3D", "CD79A"]
        >>> model.get_normalized_expression(reference[:50], gene_list=genes).shape
        (50, 2)
        """
        if isinstance(library_size, str) or not 0 < library_size < float("inf") or n_samples < 1:
            raise ValueError(
                "`library_size` must be a number above 0, because HRCA has no latent library size, and `n_samples` at "
                f"least 1, got {library_size!r} and {n_samples}."
            )
        positions = self._gene_positions(gene_list)

        def frequencies(counts: torch.Tensor) -> torch.Tensor:
            expression = self.module.reconstruct(counts).expm1().clamp(min=0)
            return library_size * (expression / expression.sum(dim=1, keepdim=True).clamp(min=TINY))[:, positions]

        return self._expression(frequencies, adata, indices, positions, layer, batch_size, as_array=return_numpy)

    @raises_for(PREDICT_UNSUPPORTED)
    @docs.dedent
    def get_reconstruction(
        self,
        adata: QueryInput | None = None,
        indices: CellIndices | None = None,
        *,
        gene_list: list[str] | None = None,
        layer: str | None = None,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
    ) -> pd.DataFrame:
        """Return Gene-AE's reconstruction of each cell.

        Parameters
        ----------
        %(query_or_reference)s
        %(indices)s
        %(gene_list)s
        %(layer)s
        %(prediction_batch_size)s

        Returns
        -------
        Reconstructed log1p(counts per 10,000), n_obs x len(gene_list), float32, also of genes that the query lacks.

        Raises
        ------
        %(raises_query)s
        ValueError
            If no phase has been trained, or a gene is not one of the model's.

        %(example_trained)s
        >>> model.get_reconstruction(reference[:50], gene_list=["CD3D", "CD79A"]).shape
        (50, 2)
        """
        positions = self._gene_positions(gene_list)
        return self._expression(
            lambda counts: self.module.reconstruct(counts)[:, positions], adata, indices, positions, layer, batch_size
        )

    def _gene_positions(self, gene_list: list[str] | None) -> np.ndarray:
        self._check_pretrained()
        if isinstance(gene_list, str):
            raise TypeError(f"`gene_list` must be a list of genes, got {gene_list!r}: `gene_list=[{gene_list!r}]`.")
        genes = self.gene_names if gene_list is None else pd.Index(gene_list)
        positions = self.gene_names.get_indexer(genes)
        if (positions < 0).any():
            raise ValueError(
                f"`gene_list` must hold genes of the model, but it lacks {list(genes[positions < 0][:3])}. "
                "`model.gene_names` has them all."
            )
        return positions

    def _expression(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        adata: QueryInput | None,
        indices: CellIndices | None,
        positions: np.ndarray,
        layer: str | None,
        batch_size: int | None,
        *,
        as_array: bool = False,
    ) -> pd.DataFrame | np.ndarray:
        query = self._open_query(adata, layer, indices=indices)
        expression = self._outputs(network, query, len(positions), batch_size)
        if as_array:
            return expression
        return pd.DataFrame(expression, index=query.adata.obs_names, columns=self.gene_names[positions])

    @within_cpu_quota()
    def _outputs(
        self, network: Callable[[torch.Tensor], torch.Tensor], query: Query, n_columns: int, batch_size: int | None
    ) -> np.ndarray:
        outputs = np.zeros((query.n_obs, n_columns), dtype=np.float32)
        batches = query.batches(resolve_batch_size(batch_size))
        write_network_outputs(network, batches, outputs, self.module.device)
        return outputs
