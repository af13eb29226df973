"""Explanations of groups of cells, kept in the AnnData."""

from typing import Protocol

import pandas as pd
from anndata import AnnData


class ExplainingModel(Protocol):
    """A model that explains labels, :class:`hrca.HRCA`."""

    def explain(
        self,
        adata: AnnData,
        *,
        groupby: str | None,
        label: str | None,
        against: str | None,
        n_genes: int | None,
        network_genes: bool,
    ) -> pd.DataFrame:
        """Return the contributions of genes; see :meth:`hrca.HRCA.explain`."""
        ...


def explain(
    model: ExplainingModel,
    adata: AnnData,
    groupby: str = "hrca",
    *,
    label: str | None = None,
    against: str | None = None,
    n_genes: int | None = 10,
    network_genes: bool = True,
    key_added: str = "hrca_explain",
) -> pd.DataFrame:
    """Explain the label of each group of cells by its genes, and keep the table in the AnnData.

    :meth:`hrca.HRCA.explain` has further options, and also explains single cells.

    Parameters
    ----------
    model
        The trained model.
    adata
        Cells with raw counts, as for :meth:`hrca.HRCA.predict`.
    groupby
        Column of obs with the groups: predicted labels or clusters.
    label
        Label that the contributions speak for. None: of each group, the commonest among the most likely labels
        of its cells.
    against
        Label to compare with. None: the other label with the highest mean score in the group.
    n_genes
        Number of genes of each group. None: all genes that contribute.
    network_genes
        If True, divide the contribution of the networks among the genes; needs the extra ``explain``. False: it is one
        row.
    key_added
        Name of the table in uns.

    Returns
    -------
    The table of :meth:`hrca.HRCA.explain`, one row for each gene of a group, which is also ``adata.uns[key_added]``;
    :func:`hrca.pl.explain` draws it.

    Raises
    ------
    ValueError
        As for :meth:`hrca.HRCA.explain`.
    ImportError
        If `network_genes` is True and captum is not installed.

    Examples
    --------
    >>> import hrca
    >>> adata = hrca.datasets.pbmc68k()
    >>> hrca.HRCA.setup_anndata(adata, labels_key="bulk_labels")
    >>> model = hrca.HRCA(adata, size="laptop")
    >>> model.train(max_epochs=1, enable_progress_bar=False)
    >>> table = hrca.tl.explain(model, adata, "bulk_labels", network_genes=False)
    >>> table[table["cells"] == "CD19+ B"]["gene"].iloc[0]
    'CD74'
    """
    table = model.explain(
        adata, groupby=groupby, label=label, against=against, n_genes=n_genes, network_genes=network_genes
    )
    adata.uns[key_added] = table
    return table
