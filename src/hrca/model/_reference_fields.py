"""Fields of scvi-tools that remember the counts and labels they were registered with."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi.data import AnnDataManager
from scvi.data.fields import LabelsWithUnlabeledObsField, LayerField
from scvi.data.fields._mudata import MuDataWrapper

from hrca.data._count_checks import has_counts
from hrca.data._digest import counts_digest, names_digest
from hrca.data._gene_map import GeneMap

logger = logging.getLogger(__name__)

# Entry of a field's state in the registry: digest of its data at the setup.
DIGEST_KEY = "digest"

# Change of a reference whose matrix of counts was transformed in place.
NO_COUNTS = "values that are no raw counts"

# Entry of uns by which scvi-tools knows the last setup of an AnnData.
LAST_SETUP_KEY = "_scvi_manager_uuid"

# Entries of uns that scvi-tools adds to an AnnData.
SETUP_KEYS = ("_scvi_uuid", LAST_SETUP_KEY)


class CountsField(LayerField):
    """The raw counts of a reference, with a digest of them and names of the genes that are strings.

    Parameters
    ----------
    registry_key
        Key of scvi-tools' registry.
    layer
        Layer with the counts; None: X.
    gene_map
        Table of other names of the genes, which replace theirs; None: none.
    """

    def __init__(self, registry_key: str, layer: str | None, gene_map: GeneMap | None = None):
        # the counts are checked by `check_reference`, for all formats
        super().__init__(registry_key, layer, is_count_data=False, correct_data_format=False)
        self._gene_map = gene_map

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Return the state of the field."""
        names = model_gene_names(adata.var_names, self._gene_map).to_numpy(dtype=object)
        digest = counts_digest(self.get_field_data(adata))
        return {**super().register_field(adata), self.COLUMN_NAMES_KEY: names, DIGEST_KEY: digest}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs: Any) -> dict[str, Any]:
        """Return the state of the field for another reference.

        Raises
        ------
        ValueError
            If its genes are not those of the state, in the same order.
        """
        names, own_names = pd.Index(state_registry[self.COLUMN_NAMES_KEY]), adata_target.var_names
        if not names.equals(model_gene_names(own_names, self._gene_map)):
            raise ValueError(explain_other_genes(model_gene_names(own_names, self._gene_map), names))
        return super().transfer_field(state_registry, adata_target, **kwargs)

    def changes(self, adata: AnnData, state: dict[str, Any]) -> list[str]:
        """Return what differs between an AnnData and the state of the field, in words."""
        names = state[self.COLUMN_NAMES_KEY]
        if adata.n_obs != state[self.N_OBS_KEY] or adata.n_vars != len(names):
            return [
                f"{adata.n_obs:,} cells x {adata.n_vars:,} genes and not {state[self.N_OBS_KEY]:,} x {len(names):,}"
            ]
        if not model_gene_names(adata.var_names, self._gene_map).equals(pd.Index(names)):
            return ["other gene names"]
        counts = self.get_field_data(adata)
        if counts_digest(counts) == state[DIGEST_KEY]:
            return []
        return ["other counts" if has_counts(counts) else NO_COUNTS]

    def is_registered(self, adata: AnnData, state: dict[str, Any]) -> bool:
        """Return True: the field adds nothing to the AnnData."""
        return True


class LabelsField(LabelsWithUnlabeledObsField):
    """The labels of a reference, with a digest of them."""

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Return the state of the field."""
        with without_scvi_warning():
            return {**super().register_field(adata), DIGEST_KEY: self._digest(adata)}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs: Any) -> dict[str, Any]:
        """Return the state of the field for a copy of the reference.

        Raises
        ------
        ValueError
            If it has other labels than the state.
        """
        model_labels = list(state_registry[self.CATEGORICAL_MAPPING_KEY])
        if other := sorted({*adata_target.obs[self._original_attr_key].astype(str)} - {*model_labels}):
            raise ValueError(
                f"The reference must have the labels of the model, but obs[{self._original_attr_key!r}] also has "
                f"{other[:3]}. Rename them to the model's, such as {model_labels[:3]}; a query is given to "
                "`predict(query)`, and `HRCA.from_pretrained(path, adata, labels_key)` learns other labels."
            )
        with without_scvi_warning():
            state = super().transfer_field(state_registry, adata_target, **kwargs)
        return {**state, DIGEST_KEY: self._digest(adata_target)}

    def changes(self, adata: AnnData, state: dict[str, Any]) -> list[str]:
        """Return what differs between an AnnData and the state of the field, in words."""
        key = self._original_attr_key
        if key not in adata.obs:
            return [f"no column obs[{key!r}]"]
        return [f"other labels in obs[{key!r}]"] if self._digest(adata) != state[DIGEST_KEY] else []

    def is_registered(self, adata: AnnData, state: dict[str, Any]) -> bool:
        """Return True if obs has the codes of the labels."""
        codes = pd.Index(state[self.CATEGORICAL_MAPPING_KEY]).get_indexer(adata.obs[self._original_attr_key])
        return self.attr_key in adata.obs and np.array_equal(adata.obs[self.attr_key], codes)

    def _digest(self, adata: AnnData) -> str:
        return names_digest(adata.obs[self._original_attr_key].astype(str))


@contextmanager
def without_scvi_warning() -> Iterator[None]:
    """Leave out scvi-tools' warning of labels with few cells, which names their codes; `check_labels` names them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Category \d+ in adata\.obs.* has fewer than 3 cells", UserWarning)
        yield


MuDataCountsField = MuDataWrapper(CountsField)
MuDataLabelsField = MuDataWrapper(LabelsField)


def forget_copied_setup(adata: AnnData | MuData, managers: Mapping[str, AnnDataManager]) -> None:
    """Remove the entries by which scvi-tools would take a copy for the AnnData that it was made from.

    Parameters
    ----------
    adata
        An AnnData or MuData that is about to be set up.
    managers
        The managers of all that were set up, by their identifiers.
    """
    manager = managers.get(adata.uns.get(SETUP_KEYS[0], ""))
    if manager is not None and manager.adata is not adata:
        for key in SETUP_KEYS:
            adata.uns.pop(key, None)


def model_gene_names(var_names: pd.Index, gene_map: GeneMap | None) -> pd.Index:
    """Return the names of a reference's genes that its model uses: strings, from the table if there is one."""
    names = var_names.astype(str)
    return names if gene_map is None else gene_map.rename(names)


def in_gene_order(adata: AnnData | MuData, gene_names: pd.Index, gene_map: GeneMap | None) -> AnnData | MuData:
    """Return a reference with its genes in the order of a model.

    Parameters
    ----------
    adata
        The reference.
    gene_names
        Names of the model's genes, shape (n_genes,).
    gene_map
        Table of other names of the genes; None: none.

    Returns
    -------
    `adata` itself if it has these genes in this order, or is a MuData or backed; otherwise a copy.

    Raises
    ------
    ValueError
        If an AnnData has other genes.
    """
    if isinstance(adata, MuData):
        return adata
    names = model_gene_names(adata.var_names, gene_map)
    if gene_names.equals(names) or adata.isbacked:
        return adata
    if len(names) != len(gene_names) or set(names) != set(gene_names):
        raise ValueError(explain_other_genes(names, gene_names))
    logger.info("The genes of the reference were put into the order of the model, in a copy.")
    return adata[:, names.get_indexer(gene_names)].copy()


def explain_other_genes(var_names: pd.Index, gene_names: pd.Index) -> str:
    """Return the sentences of an error: a reference has other genes than the model, or another order of them."""
    n_shared = int(gene_names.isin(var_names).sum())
    if n_shared == len(gene_names) == len(var_names):
        return (
            "The reference must have its genes in the order of the model, but it has another order. `HRCA.load(path, "
            "adata)` reorders an AnnData in memory; read it by `adata.to_memory()`."
        )
    return (
        f"The reference must have the {len(gene_names):,} genes of the model, but it has {len(var_names):,} genes, "
        f"{n_shared:,} of them shared. `adata[:, model.gene_names].copy()`, where `model = HRCA.load(path)`, drops "
        "others; for other genes, train a new model, or `HRCA.from_pretrained(path, adata, ...)`."
    )


def reference_digest(manager: AnnDataManager) -> str:
    """Return the digests of the counts and the labels that a reference was registered with."""
    registries = manager.registry["field_registries"]
    return "-".join(registries[field.registry_key]["state_registry"][DIGEST_KEY] for field in manager.fields)


def reference_changes(manager: AnnDataManager) -> list[str]:
    """Return what differs between a reference and its setup, in words.

    Parameters
    ----------
    manager
        scvi-tools' manager of the reference.
    """
    return [change for adata, field, state in _owned_fields(manager) for change in field.changes(adata, state)]


def restore_setup(manager: AnnDataManager) -> None:
    """Check that a reference is as it was at its setup, and register it again if another setup came after.

    scvi-tools keeps the codes of the labels in obs of the reference. The setup of another model replaces them.

    Parameters
    ----------
    manager
        scvi-tools' manager of the reference.

    Raises
    ------
    ValueError
        If the cells, the genes, the counts or the labels have changed.
    """
    changes = reference_changes(manager)
    if changes:
        remedy = "To train on it as it is now, call `HRCA.setup_anndata` again and make a new model."
        if NO_COUNTS in changes:
            remedy = (
                "Undo the change, or read the reference again; normalise a copy, or keep the counts in a layer that "
                "`HRCA.setup_anndata(layer=...)` names."
            )
        raise ValueError(
            f"The reference must be as it was at `HRCA.setup_anndata`, but it has {' and '.join(changes)}. {remedy}"
        )
    owned = _owned_fields(manager)
    is_last_setup = manager.adata.uns.get(LAST_SETUP_KEY) == manager.id
    if not (is_last_setup and all(field.is_registered(adata, state) for adata, field, state in owned)):
        manager.adata.uns[LAST_SETUP_KEY] = ""
        manager.validate()


def _owned_fields(manager: AnnDataManager) -> list[tuple[AnnData, Any, dict[str, Any]]]:
    """Return the AnnData that each field reads, the field itself, and its state."""
    registries = manager.registry["field_registries"]
    states = [registries[field.registry_key]["state_registry"] for field in manager.fields]
    return [(*_unwrapped(field, manager.adata), state) for field, state in zip(manager.fields, states, strict=True)]


def _unwrapped(field: Any, adata: AnnData | MuData) -> tuple[AnnData, CountsField | LabelsField]:
    """Return the AnnData that a field reads, and the field itself."""
    return (field.get_modality(adata), field.adata_field) if isinstance(adata, MuData) else (adata, field)
