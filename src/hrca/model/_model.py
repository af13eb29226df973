"""HRCA, the public model class: setup of a reference, and construction."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi.data import AnnDataManager

from hrca._docs import docs
from hrca._hierarchy import Hierarchy, read_hierarchy
from hrca._messages import counted
from hrca._unsupported import SETUP_UNSUPPORTED, raises_for
from hrca.data._alignment import check_shared
from hrca.data._gene_lookup import lookup_genes
from hrca.data._gene_map import GeneMapInput, read_gene_map
from hrca.data._sources import get_modality
from hrca.data._validate_reference import check_reference, check_reference_type, layer_to_register
from hrca.module._count_likelihood import CountLikelihood
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.module._presets import SIZES, check_dropout_rates, describe_sizes, resolve_sizes
from hrca.train._resume import network_sizes
from hrca.train._runtime_estimate import uses_accelerator

from ._dask_mixin import DaskMixin
from ._explanation_mixin import ExplanationMixin
from ._prediction_mixin import PredictionMixin
from ._reference_fields import forget_copied_setup, model_gene_names
from ._registration import anndata_fields, build_registry, check_setup_arguments, mudata_fields
from ._representation_mixin import RepresentationMixin
from ._training_mixin import TrainingMixin

logger = logging.getLogger(__name__)


class HRCA(TrainingMixin, PredictionMixin, DaskMixin, RepresentationMixin, ExplanationMixin):
    """High-Resolution Cell Annotation: cell types of a sparse query from an annotated reference.

    A transformer-style autoencoder (Gene-AE) is pre-trained on expression. It is then fine-tuned together with a
    classifier of its latent features (SE-Classifier). The specification of the algorithm is the HRCA Training Document.
    The networks have about 290 million parameters at 21,333 genes; a smaller `size` trains on a CPU.

    Parameters
    ----------
    adata
        The reference, after :meth:`setup_anndata` or :meth:`setup_mudata`.
    registry
        The registry that scvi-tools made of a reference. :meth:`load` uses it in place of `adata`.
    size
        Size of the networks: "specification", "workstation" or "laptop", see :data:`hrca.SIZES`. "auto":
        "specification" on a machine with an accelerator, else "laptop".
    n_hidden
        Width between genes and latent features. None here and in the next five parameters: the number of `size`.
    n_latent
        Number of latent features; a multiple of `n_heads`.
    n_heads
        Number of attention heads in each encoder layer.
    n_layers
        Number of encoder layers.
    n_feedforward
        Width of the feed-forward network in each encoder layer.
    classifier_widths
        Width of each stage of the classifier.
    dropout_rate
        Dropout rate in Gene-AE.
    classifier_dropout_rate
        Dropout rate in the classifier's stages after the first.
    count_likelihood
        If True, the likelihood of the raw counts under each label's profile is pooled with the classifier. False: the
        networks of the specification alone.

    Attributes
    ----------
    query_match_
        The fit of a matched query to the reference, see :meth:`match_query`; None without one.
    history
        The logged numbers of each epoch of all phases; None before training.

    Raises
    ------
    ValueError
        If neither `adata` nor `registry` is given; `adata` was not set up; `size` is unknown; `n_latent` is not a
        multiple of `n_heads`; a number is below 1; a dropout rate is not from 0 to 1; or the classifier has no stage.
    TypeError
        If `registry` is something else, for example the name of a size.

    Notes
    -----
    Where the specification gives no value, the published code decides (dropouts, norms, feed-forward width). Where the
    two contradict each other, the specification holds (stages of the classifier). The count likelihood,
    :meth:`match_query`, :meth:`adapt` and the one cycle of :meth:`train` are not part of the specification
    (:doc:`decision 3 </decisions/0003-count-likelihood>`).

    Examples
    --------
    >>> import hrca
    >>> reference = hrca.datasets.pbmc68k()
    >>> query = reference[:50].copy()
    >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
    >>> model = hrca.HRCA(reference, size="laptop")
    >>> model.train(max_epochs=1, enable_progress_bar=False)
    >>> labels = model.predict(query)
    >>> query.obs[["hrca", "hrca_confidence"]].shape
    (50, 2)
    """

    _module_cls = HRCAModule

    # Twelve parameters and not eight: each is a size, a rate or a part of the model.
    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        registry: dict | None = None,
        *,
        size: str = "auto",
        n_hidden: int | None = None,
        n_latent: int | None = None,
        n_heads: int | None = None,
        n_layers: int | None = None,
        n_feedforward: int | None = None,
        classifier_widths: tuple[int, ...] | None = None,
        dropout_rate: float = 0.1,
        classifier_dropout_rate: float = 0.5,
        count_likelihood: bool = True,
    ):
        if registry is not None and not (isinstance(registry, Mapping) and "setup_args" in registry):
            raise TypeError(
                f"`registry` must be scvi-tools' registry of a reference, got {registry!r}. A size is given by its "
                'name: `HRCA(adata, size="laptop")`.'
            )
        given = {name: value for name, value in locals().items() if name in SIZES["specification"]}
        size, sizes = resolve_sizes(size, given, has_accelerator=uses_accelerator("auto"))
        check_dropout_rates(dropout_rate=dropout_rate, classifier_dropout_rate=classifier_dropout_rate)
        super().__init__(adata, registry)
        n_genes, n_labels = len(self.gene_names), len(self.labels)
        ae_sizes = {name: value for name, value in sizes.items() if name != "classifier_widths"}
        gene_ae = GeneAE(n_genes=n_genes, dropout_rate=dropout_rate, **ae_sizes)
        se_classifier = None
        if n_labels:
            se_classifier = SEClassifier(
                n_latent=sizes["n_latent"],
                n_labels=n_labels,
                widths=sizes["classifier_widths"],
                dropout_rate=classifier_dropout_rate,
            )
        likelihood = CountLikelihood(n_labels, n_genes) if n_labels and count_likelihood else None
        self.module = self._module_cls(gene_ae, se_classifier, likelihood)
        self._model_summary_string = (
            f"HRCA with {counted(n_genes, 'gene')}, {counted(n_labels, 'label')}; {describe_sizes(sizes)}"
        )
        if None in given.values():
            logger.info("Size %r: %s.", size, describe_sizes(sizes))
        self._init_state()
        # the numbers and not "auto", which may be another size on the machine that loads the model
        self.init_params_ = self._get_init_params({**locals(), **sizes})

    @classmethod
    @raises_for(SETUP_UNSUPPORTED)
    @docs.dedent
    def setup_anndata(
        cls,
        adata: AnnData,
        labels_key: str | None = None,
        unlabeled_category: str = "Unknown",
        layer: str | None = None,
        labels_hierarchy: Hierarchy | None = None,
        gene_map: GeneMapInput | None = None,
        **kwargs: Any,
    ) -> None:
        """Register an AnnData as the reference of a model.

        scvi-tools adds entries to its obs and uns. Its other data stay unchanged.

        Parameters
        ----------
        adata
            The reference: raw counts of cells of known type.
        %(labels_key)s
        %(unlabeled_category)s
        %(layer_reference)s
        %(labels_hierarchy)s
        %(gene_map_reference)s
        **kwargs
            Arguments of scvi-tools, when it repeats the setup of a loaded model.

        Raises
        ------
        %(raises_setup_method)s

        Examples
        --------
        >>> import hrca
        >>> reference = hrca.datasets.pbmc68k()
        >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
        >>> len(hrca.HRCA(reference, size="laptop").labels)
        10
        """
        check_setup_arguments("setup_anndata", kwargs)
        check_reference_type(adata)
        table = None if gene_map is None else read_gene_map(gene_map)
        layer = check_reference(adata, layer, labels_key, adata.obs, unlabeled_category, table)
        # as a dict of the reference's genes: a saved model then needs no file, and can apply it to a query
        gene_map = None if table is None else table.of(adata.var_names.astype(str))
        # as parents: a saved model then needs neither columns nor a file
        labels_hierarchy = read_hierarchy(labels_hierarchy, adata.obs, labels_key, unlabeled_category)
        setup_method_args: dict[str, Any] = cls._get_setup_method_args(
            cls=cls,
            adata=adata,
            labels_key=labels_key,
            unlabeled_category=unlabeled_category,
            layer=layer,
            labels_hierarchy=labels_hierarchy,
            gene_map=gene_map,
        )
        fields = anndata_fields(layer_to_register(adata, layer), labels_key, unlabeled_category, table)
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        forget_copied_setup(adata, cls._setup_adata_manager_store)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    @raises_for(SETUP_UNSUPPORTED)
    @docs.dedent
    def setup_mudata(
        cls,
        mdata: MuData,
        labels_key: str | None = None,
        unlabeled_category: str = "Unknown",
        rna_layer: str | None = None,
        modalities: dict[str, str] | None = None,
        labels_hierarchy: Hierarchy | None = None,
        gene_map: GeneMapInput | None = None,
        **kwargs: Any,
    ) -> None:
        """Register a MuData as the reference of a model.

        Parameters
        ----------
        mdata
            The reference.
        labels_key
            Column with the cell types, as strings. None: no labels, for pre-training only.
        %(unlabeled_category)s
        rna_layer
            Layer of the RNA modality with the raw counts, or "X". None: X, or the only layer with raw counts.
        modalities
            The modality of the counts and that of the labels. None: ``{"rna_layer": "rna", "labels_key": "rna"}``. If
            the dict has no "labels_key", the labels are in ``mdata.obs``.
        %(labels_hierarchy)s
        %(gene_map_reference)s
        **kwargs
            Arguments of scvi-tools, when it repeats the setup of a loaded model.

        Raises
        ------
        %(raises_setup_method)s
        ValueError
            If there is no such modality.

        Examples
        --------
        >>> import hrca
        >>> from mudata import MuData
        >>> reference = MuData({"rna": hrca.datasets.pbmc68k()})
        >>> hrca.HRCA.setup_mudata(reference, labels_key="bulk_labels")
        >>> len(hrca.HRCA(reference, size="laptop").labels)
        10
        """
        check_setup_arguments("setup_mudata", kwargs)
        if not isinstance(mdata, MuData):
            raise TypeError(f"`mdata` must be a MuData, got {type(mdata).__name__}. `setup_anndata` takes an AnnData.")
        modalities = modalities or {"rna_layer": "rna", "labels_key": "rna"}
        rna = get_modality(mdata, str(modalities.get("rna_layer")))
        labels_modality = modalities.get("labels_key")
        check_reference_type(rna)
        obs = mdata.obs if labels_modality is None else get_modality(mdata, labels_modality).obs
        table = None if gene_map is None else read_gene_map(gene_map)
        rna_layer = check_reference(rna, rna_layer, labels_key, obs, unlabeled_category, table)
        setup_method_args: dict[str, Any] = cls._get_setup_method_args(
            cls=cls,
            mdata=mdata,
            labels_key=labels_key,
            unlabeled_category=unlabeled_category,
            rna_layer=rna_layer,
            modalities=modalities,
            gene_map=None if table is None else table.of(rna.var_names.astype(str)),
        )
        where = cls._create_modalities_attr_dict(modalities, setup_method_args)
        parents = read_hierarchy(labels_hierarchy, obs, labels_key, unlabeled_category)
        setup_method_args["setup_args"]["labels_hierarchy"] = parents
        layer = layer_to_register(rna, rna_layer)
        fields = mudata_fields(
            layer, labels_key, unlabeled_category, table, rna=where.rna_layer, labels=where.labels_key
        )
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        forget_copied_setup(mdata, cls._setup_adata_manager_store)
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    @docs.dedent
    def from_pretrained(
        cls,
        pretrained: "HRCA | GeneAE | str | Path",
        adata: AnnData,
        labels_key: str,
        *,
        unlabeled_category: str = "Unknown",
        layer: str | None = None,
        classifier_widths: tuple[int, ...] | None = None,
        count_likelihood: bool = True,
        labels_hierarchy: Hierarchy | None = None,
        gene_map: GeneMapInput | None = None,
    ) -> Self:
        """Make a model with a trained Gene-AE and a new classifier, for the labels of a new reference.

        Genes are matched by name. The weights of the shared genes are copied. The other genes of the new reference
        start untrained.

        Parameters
        ----------
        pretrained
            A pre-trained model, the folder of one, or a Gene-AE from :mod:`hrca.compat`.
        adata
            The new reference. This method sets it up.
        labels_key
            Column of ``adata.obs`` with the cell types, as strings.
        %(unlabeled_category)s
        %(layer_reference)s
        %(classifier_widths)s None: those of `pretrained`, or of the specification for a Gene-AE.
        %(count_likelihood)s
        %(labels_hierarchy)s
        gene_map
            Table of two names of each gene, see :meth:`setup_anndata`. None: that of `pretrained`, if it has one and
            names genes of `adata`.

        Returns
        -------
        A model that is ready for :meth:`finetune`.

        Raises
        ------
        %(raises_setup)s
        ValueError
            If `pretrained` is not trained, or shares no gene with `adata`.

        %(example_model)s
        >>> model.pretrain(1, enable_progress_bar=False)
        >>> other = hrca.datasets.pbmc68k()[:, :500].copy()
        >>> new = hrca.HRCA.from_pretrained(model, other, labels_key="bulk_labels")
        >>> len(new.gene_names)
        500
        """
        check_reference_type(adata)
        model = cls.load(pretrained, adata=False) if isinstance(pretrained, str | Path) else pretrained
        if isinstance(model, HRCA):
            model._check_pretrained()
            gene_ae, gene_names, sizes = model.module.gene_ae, model.gene_names, network_sizes(model.module)
            gene_map = model.registry["setup_args"].get("gene_map") if gene_map is None else gene_map
        else:
            gene_ae, gene_names, sizes = model, pd.Index(model.gene_names), dict(model.sizes)
        names = adata.var_names.astype(str)
        if gene_map is not None:
            renamed = model_gene_names(names, read_gene_map(gene_map))
            # a reference that has the names of the model already needs no table
            is_needed = renamed.isin(gene_names).sum() > names.isin(gene_names).sum()
            names, gene_map = (renamed, gene_map) if is_needed else (names, None)
        is_gene = np.ones(len(gene_names), dtype=bool)
        positions = lookup_genes(gene_names, names, is_gene, ignore_case=False).positions
        shared = np.flatnonzero(positions >= 0)
        check_shared(len(shared), adata.var_names, gene_names)
        cls.setup_anndata(adata, labels_key, unlabeled_category, layer, labels_hierarchy, gene_map=gene_map)
        if classifier_widths is not None:
            sizes["classifier_widths"] = classifier_widths
        new = cls(adata, size="specification", count_likelihood=count_likelihood, **sizes)
        new.module.gene_ae.copy_weights_from(gene_ae, shared, positions[shared])
        new.module.eval()
        new.is_trained_ = True
        n_new = adata.n_vars - len(shared)
        logger.info("Gene-AE has weights for %d of %d genes; %d start untrained.", len(shared), adata.n_vars, n_new)
        return new

    @classmethod
    def _from_networks(
        cls, gene_names: pd.Index, labels: list[str], load_weights: Callable[[HRCAModule], None], **sizes: Any
    ) -> Self:
        """Make a model without a reference; `load_weights` loads trained weights into its networks."""
        registry = build_registry(cls, gene_names, labels)
        model = cls(registry=registry, size="specification", count_likelihood=False, **sizes)
        load_weights(model.module)
        model.module.eval()
        model.is_trained_ = True
        model._mark_fitted(is_finetuned=True)
        return model
