"""Fields and registry of scvi-tools."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data.fields import BaseAnnDataField
from scvi.model.base import BaseModelClass
from torch import nn

from hrca.data._alignment import check_unique
from hrca.data._gene_map import GeneMap

from ._reference_fields import CountsField, LabelsField, MuDataCountsField, MuDataLabelsField

# Arguments with which scvi-tools repeats the setup of a reference for a loaded model.
REPEATED_SETUP_ARGUMENTS = ("allow_missing_labels", "extend_categories", "source_registry")


def anndata_fields(
    layer: str | None, labels_key: str | None, unlabeled_category: str, gene_map: GeneMap | None = None
) -> list[BaseAnnDataField]:
    """Return the fields of an AnnData that scvi-tools registers: the counts, and the labels if there are any.

    Parameters
    ----------
    layer
        Layer with the counts; None: X.
    labels_key
        Column of obs with the labels; None: there are none.
    unlabeled_category
        The label of cells without one.
    gene_map
        Table of other names of the genes; None: none.
    """
    fields: list[BaseAnnDataField] = [CountsField(REGISTRY_KEYS.X_KEY, layer, gene_map)]
    if labels_key is not None:
        fields.append(LabelsField(REGISTRY_KEYS.LABELS_KEY, labels_key, unlabeled_category))
    return fields


def mudata_fields(
    layer: str | None,
    labels_key: str | None,
    unlabeled_category: str,
    gene_map: GeneMap | None = None,
    *,
    rna: str,
    labels: str | None,
) -> list[BaseAnnDataField]:
    """Return the fields of a MuData that scvi-tools registers, as :func:`anndata_fields`.

    Parameters
    ----------
    layer
        Layer with the counts; None: X.
    labels_key
        Column with the labels; None: there are none.
    unlabeled_category
        The label of cells without one.
    gene_map
        Table of other names of the genes; None: none.
    rna
        Modality with the counts.
    labels
        Modality whose obs has the labels; None: obs of the MuData.
    """
    fields: list[BaseAnnDataField] = [
        MuDataCountsField(REGISTRY_KEYS.X_KEY, layer, gene_map, mod_key=rna, mod_required=True)
    ]
    if labels_key is not None:
        fields.append(MuDataLabelsField(REGISTRY_KEYS.LABELS_KEY, labels_key, unlabeled_category, mod_key=labels))
    return fields


def build_registry(model_cls: type[BaseModelClass], gene_names: pd.Index, labels: list[str]) -> dict:
    """Return the registry that scvi-tools would make of a reference with these genes and labels.

    Parameters
    ----------
    model_cls
        The model's class.
    gene_names
        Its genes in order, shape (n_genes,).
    labels
        Its labels in order.

    Raises
    ------
    ValueError
        If a gene name is duplicated.
    """
    check_unique(gene_names, "the model")
    n_cells = 3  # scvi-tools warns of a label with fewer cells
    stub = AnnData(
        sparse.csr_matrix((n_cells * len(labels), len(gene_names)), dtype=np.float32),
        obs={"cell_type": pd.Categorical(np.repeat(labels, n_cells), categories=labels)},
        var=pd.DataFrame(index=gene_names),
    )
    setup: dict[str, Any] = {
        "labels_key": "cell_type",
        "unlabeled_category": "Unknown",
        "layer": None,
        "labels_hierarchy": None,
        "gene_map": None,
    }
    # not by `setup_anndata`, which raises an error for cells without counts
    manager = AnnDataManager(
        fields=anndata_fields(setup["layer"], setup["labels_key"], setup["unlabeled_category"]),
        setup_method_args=model_cls._get_setup_method_args(cls=model_cls, adata=stub, **setup),
    )
    manager.register_fields(stub)
    return manager.registry


def check_setup_arguments(method: str, arguments: Mapping[str, Any]) -> None:
    """Check that further arguments of a setup are those with which scvi-tools repeats it.

    Parameters
    ----------
    method
        Name of the method.
    arguments
        Its further arguments by name.

    Raises
    ------
    TypeError
        If there is another one.
    """
    unknown = [name for name in arguments if name not in REPEATED_SETUP_ARGUMENTS]
    if unknown:
        raise TypeError(f"`{method}` takes no `{unknown[0]}`: a reference has counts, labels and their hierarchy.")


def weights_fingerprint(module: nn.Module) -> str:
    """Return twelve hexadecimal digits that identify the weights."""
    sha = hashlib.sha256()
    for name, value in module.state_dict().items():
        sha.update(name.encode())
        sha.update(value.cpu().numpy().tobytes())
    return sha.hexdigest()[:12]
