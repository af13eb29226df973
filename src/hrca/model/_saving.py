"""Save and load a model."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.model._utils import parse_device_args

from hrca._docs import docs
from hrca._paths import user_path
from hrca.data._gene_map import read_gene_map
from hrca.train._history import framed_history, plain_history
from hrca.train._random_states import private_generators

from ._card import ModelCard, write_card
from ._card_text import build_card
from ._model_file import (
    ADATA_FILES,
    PICKLE_FILE,
    SavedModel,
    check_weights,
    read_adata,
    read_model,
    read_pickle,
    write_adata,
    write_model,
    write_pickle,
)
from ._reference_fields import in_gene_order, reference_changes
from ._registration import weights_fingerprint
from ._training_record import TrainingRecord

if TYPE_CHECKING:
    from ._base import HRCABase


class SavingBase(TrainingRecord):
    """Save and load a model without a pickle."""

    # Attributes that are objects, and their classes. They are saved as their dictionaries.
    _state_classes: ClassVar[Mapping[str, Any]]

    model_id_: str
    is_finetuned_: bool
    stated_facts_: dict[str, str]

    @docs.dedent
    def save(
        self,
        dir_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        *,
        pickle: bool = False,
        card: ModelCard | None = None,
        **anndata_write_kwargs: Any,
    ) -> None:
        """Save the model to a folder.

        The weights are written as ``model.safetensors``, all other values as ``model.json``. :meth:`load` reads them
        without running any code from them, and verifies their digest. A model that can predict also gets a card,
        ``README.md``.

        Parameters
        ----------
        dir_path
            The folder.
        prefix
            Text at the start of the file names, so that a folder can hold several models. None: no such text.
        overwrite
            If True, the folder may exist. A model with the same `prefix` is replaced; others stay.
        save_anndata
            If True, the reference is also written, and :meth:`load` restores the model with it.
        pickle
            If True, ``model.pt`` is also written: the pickle that scvi-tools' ``HubModel`` and ``HubMetadata`` read.
        card
            The card, from :func:`hrca.models.make_card`. The model keeps what it states. None: a card with what was
            stated before.
        **anndata_write_kwargs
            Arguments of ``AnnData.write_h5ad`` for the reference, such as ``compression="gzip"``.

        Raises
        ------
        ValueError
            If the folder exists and ``overwrite=True`` is not given; the reference is to be saved, but the model was
            loaded without it, or the reference has changed since its setup; or the card is of another model.
        TypeError
            If there are arguments for writing the reference, but it is not to be saved.
        OSError
            If a file cannot be written.

        Warns
        -----
        UserWarning
            If the folder has a ``README.md`` that is not the card of a model. It stays, and no card is written.

        %(example_trained)s
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model")
        ...     loaded = hrca.HRCA.load(f"{folder}/model")
        >>> loaded.predict(reference).equals(model.predict(reference))
        True
        """
        folder, prefix = user_path(dir_path), prefix or ""
        if anndata_write_kwargs and not save_anndata:
            raise TypeError(f"{sorted(anndata_write_kwargs)} are for the reference: they need `save_anndata=True`.")
        self._check_saving(folder, card, overwrite=overwrite, save_anndata=save_anndata)
        stated = self.stated_facts_ if card is None else dict(card.facts.get("stated") or {})
        if card is None and self.is_finetuned_:
            card = build_card(cast("HRCABase", self), stated)
        folder.mkdir(parents=True, exist_ok=True)
        digest = write_adata(self.adata, folder, prefix, **anndata_write_kwargs) if save_anndata else None
        attributes = {**self._plain_attributes(), "stated_facts_": stated}
        saved = SavedModel(self.module.state_dict(), attributes, self.get_var_names(), adata_digest=digest)
        write_model(saved, folder, prefix)
        (folder / f"{prefix}{PICKLE_FILE}").unlink(missing_ok=True)  # of a model that is replaced
        if pickle:
            write_pickle(saved, folder / f"{prefix}{PICKLE_FILE}")
        # the last one, since it lists digests of the others
        write_card(card, folder, prefix)
        self.stated_facts_ = stated

    def _check_saving(self, folder: Path, card: ModelCard | None, *, overwrite: bool, save_anndata: bool) -> None:
        """Raise an error if the model cannot be saved to a folder in this way."""
        if folder.exists() and not overwrite:
            raise ValueError(
                f"The folder {str(folder)!r} must not exist, but it does. `overwrite=True` replaces the model in it."
            )
        if save_anndata and self.adata is None:
            raise ValueError(
                "The reference cannot be saved, since the model was loaded without it. `save_anndata=False` saves the"
                " model alone."
            )
        changes = reference_changes(self.adata_manager) if save_anndata and self.adata_manager is not None else []
        if changes:
            raise ValueError(
                "A reference that is saved with its model must be as it was at `HRCA.setup_anndata`, but it has "
                f"{' and '.join(changes)}. Undo the change, or save the model alone: `save_anndata=False`."
            )
        if card is not None and (not self.model_id_ or card.facts.get("model_id") != self.model_id_):
            raise ValueError(
                f"`card` must be that of the model {self.model_id_!r}, but is that of {card.facts.get('model_id')!r}. "
                "If the model was trained since, `hrca.models.make_card(model)` makes another."
            )

    @classmethod
    @docs.dedent
    def load(
        cls,
        dir_path: str | Path,
        adata: AnnData | MuData | Literal[False] | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
        *,
        pickle: bool = False,
    ) -> Self:
        """Load a model from a folder, without running any code from its files.

        Parameters
        ----------
        dir_path
            The folder.
        adata
            The reference, to continue training. Prediction does not need it. If an AnnData has its genes in another
            order, the model has a copy with the order of the model. None: the reference that was saved with the model,
            if it was. False: load the model without a reference.
        accelerator
            Kind of device, such as "cpu" or "gpu".
        device
            Number of the device, or "auto".
        prefix
            The `prefix` of :meth:`save`.
        pickle
            If True, ``model.pt`` is read, the pickle that scvi-tools' ``HubModel`` downloads. It can run any program:
            load only a pickle whose origin you trust.

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            If the folder has no model; its files are damaged, are of another version or another class, lack the table
            of genes that they name, or hold weights that are not finite; or the reference has other genes or other
            labels.
        TypeError
            If `adata` is neither an AnnData, a MuData, False nor None, such as a path.

        Warns
        -----
        UserWarning
            If the reference was saved with the model, but its file is not there.

        %(example_trained)s
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model")
        ...     loaded = hrca.HRCA.load(f"{folder}/model")
        >>> loaded.labels == model.labels
        True
        """
        folder, prefix = user_path(dir_path), prefix or ""
        _check_reference_argument(adata)
        saved = read_pickle(folder / f"{prefix}{PICKLE_FILE}") if pickle else read_model(folder, prefix)
        registry, arguments = cls._checked_setup(saved, folder)
        method = registry["setup_method_name"]
        _, _, target = parse_device_args(accelerator, device, return_device="torch", validate_single_device=True)
        if adata is None:
            with annotate_reference_errors():
                adata = cls._set_up(read_adata(saved, method, folder, prefix), registry)
        else:
            adata = cls._set_up(adata, registry)
        with private_generators():  # the weights that a new network draws are replaced
            model = cls(None if adata is False else adata, registry=registry, **arguments)
        check_weights(saved, model.module, folder)
        model.module.load_state_dict(saved.weights)
        model._restore_attributes(saved.attributes)
        if model.model_id_ and model.model_id_ != weights_fingerprint(model.module):
            raise ValueError(
                f"A saved model must have the weights that it was saved with, but the weights in {str(folder)!r} are "
                f"not those of its model {model.model_id_}. Copy the folder from its origin again."
            )
        model.to_device(target)
        model.module.eval()
        if adata is not False:
            model._validate_anndata(adata)
        return model

    @classmethod
    def _set_up(
        cls, adata: AnnData | MuData | Literal[False], registry: Mapping[str, Any]
    ) -> AnnData | MuData | Literal[False]:
        """Set a reference up as that of a saved model was, and return it with its genes in the order of the model."""
        if adata is False:
            return False
        gene_map = registry["setup_args"].get("gene_map")
        table = None if gene_map is None else read_gene_map(gene_map)
        adata = in_gene_order(adata, _gene_names(registry), table)
        getattr(cls, registry["setup_method_name"])(adata, source_registry=registry, **registry["setup_args"])
        return adata

    @classmethod
    def _checked_setup(cls, saved: SavedModel, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the registry of a saved model, and the arguments that it was made with."""
        registry = saved.attributes.get("registry_", {})
        if registry.get("model_name") != cls.__name__ or registry.get("setup_method_name") not in ADATA_FILES:
            raise ValueError(
                f"The model in {str(folder)!r} must be of the class {cls.__name__}, but is of the class "
                f"{registry.get('model_name')}, set up by {registry.get('setup_method_name')}. Name a folder that "
                f"`{cls.__name__}.save` wrote."
            )
        arguments = saved.attributes.get("init_params_", {}).get("non_kwargs", {})
        unknown = sorted(set(arguments) - set(inspect.signature(cls).parameters))
        if unknown:
            raise ValueError(
                f"A saved model must have only parameters of this version of {cls.__name__}, but the model in "
                f"{str(folder)!r} is of another version ({saved.saved_by}) and also has {unknown}. Load it with that "
                "version, or train it again."
            )
        gene_map = registry.get("setup_args", {}).get("gene_map")
        # the setup stores the table that it read: a path would be that of a file of whoever loads the model
        if not (gene_map is None or isinstance(gene_map, Mapping)):
            raise ValueError(
                f"A saved model must hold its table of genes, but `gene_map` in {str(folder)!r} is {gene_map!r:.80}: "
                "the files were changed, or another program wrote them. Get the model from its origin again."
            )
        return registry, arguments

    def _plain_attributes(self) -> dict[str, Any]:
        """Return the attributes that scvi-tools saves, those that end with an underscore, as plain values."""
        attributes = {name: value for name, value in self._get_user_attributes() if name.endswith("_")}
        attributes["history_"] = None if self.history_ is None else plain_history(self.history_)
        for name in self._state_classes:
            attributes[name] = None if attributes[name] is None else attributes[name].to_dict()
        return attributes

    def _restore_attributes(self, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            if name == "history_":
                value = None if value is None else framed_history(value)
            elif name in self._state_classes:
                value = None if value is None else self._state_classes[name].from_dict(value)
            # the model has made its own from the reference it was given
            if name not in ("registry_", "init_params_"):
                setattr(self, name, value)

    @staticmethod
    @docs.dedent
    def load_registry(dir_path: str | Path, prefix: str | None = None) -> dict[str, Any]:
        """Return the registry that scvi-tools made of the reference of a saved model.

        Parameters
        ----------
        dir_path
            The folder of the model.
        prefix
            The `prefix` of :meth:`save`.

        Returns
        -------
        The registry.

        Raises
        ------
        ValueError
            If the folder has no model, or its files are damaged or of another version.

        %(example_model)s
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model")
        ...     registry = hrca.HRCA.load_registry(f"{folder}/model")
        >>> registry["setup_args"]["labels_key"]
        'bulk_labels'
        """
        return read_model(user_path(dir_path), prefix or "").attributes["registry_"]

    @staticmethod
    @docs.dedent
    def view_setup_args(dir_path: str | Path, prefix: str | None = None) -> None:
        """Show the arguments with which the reference of a saved model was set up.

        Parameters
        ----------
        dir_path
            The folder of the model.
        prefix
            The `prefix` of :meth:`save`.

        Raises
        ------
        ValueError
            If the folder has no model, or its files are damaged or of another version.

        %(example_model)s
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model")
        ...     hrca.HRCA.view_setup_args(f"{folder}/model")  # doctest: +ELLIPSIS
        Setup via `HRCA.setup_anndata` with arguments:
        {
        │   'labels_key': 'bulk_labels',
        │   'unlabeled_category': 'Unknown',
        │   'layer': None,
        ...
        """
        prepare_view()
        AnnDataManager.view_setup_method_args(SavingBase.load_registry(dir_path, prefix))


@contextmanager
def annotate_reference_errors() -> Iterator[None]:
    """Add the way to load a model alone to an error about the reference that was saved with it."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        error.add_note("The error is in the reference saved with the model. `adata=False` loads the model without it.")
        raise


def _check_reference_argument(adata: object) -> None:
    if not (adata is None or adata is False or isinstance(adata, AnnData | MuData)):
        remedy = "None loads the reference that was saved with the model, and False loads the model without a reference"
        if isinstance(adata, str | Path):
            remedy = "Read it first: `anndata.read_h5ad(path)`"
        raise TypeError(
            f"`adata` must be the reference as an AnnData or a MuData, None or False, got {adata!r:.80}. {remedy}."
        )


def prepare_view() -> None:
    """Import the module of rich that scvi-tools 1.4.2 shows a setup with, and does not import."""
    import_module("rich.pretty")


def _gene_names(registry: Mapping[str, Any]) -> pd.Index:
    return pd.Index(registry["field_registries"][REGISTRY_KEYS.X_KEY]["state_registry"]["column_names"])
