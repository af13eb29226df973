"""HRCA, the model that users hold: an annotated reference in, labels with their confidence out.

Longer than the other files, for its docstrings: it is the public face, and each method only parses, calls and returns.
"""

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from lightning.pytorch.callbacks import Callback
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi import settings as scvi_settings
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass
from scvi.utils import setup_anndata_dsp

from hrca._hierarchy import Hierarchy, read_hierarchy
from hrca.annotation._labels import assemble_result, most_likely_labels
from hrca.annotation._options import LabelSpace, PredictOptions, check_ontology_terms
from hrca.annotation._result import PredictionResult, cellxgene_columns, to_entries
from hrca.annotation._write import check_target, write_result
from hrca.data._alignment import check_shared
from hrca.data._query import Query, annotate_sample_errors, known_labels, open_query
from hrca.data._sources import QueryInput, get_modality
from hrca.data._target_genes import TargetGenes
from hrca.data._validate_reference import check_reference, layer_to_register
from hrca.metrics import annotation_scores, calibration_error, hierarchical_scores, risk_coverage_area
from hrca.module._count_likelihood import CountLikelihood
from hrca.module._module import HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.module._presets import check_sizes
from hrca.module._transforms import Corruption
from hrca.prediction._forward import CellProbabilities, predict_probabilities, run
from hrca.train._adaptation import (
    EPOCH_STEPS,
    MixedBatches,
    SoftLabelledCells,
    gather_cells,
    query_targets,
    reference_targets,
    run_adaptation,
    sample_query_cells,
)
from hrca.train._callbacks import EpochHistory
from hrca.train._config import FINETUNE_ONLY_KWARGS, PhaseConfig, drop_prefixed
from hrca.train._monitoring import MonitorTestSet, TensorBoard, check_tensorboard
from hrca.train._phase import fit
from hrca.train._query_matching import summarize_query_match
from hrca.train._runner import framed_history, plain_history
from hrca.train._schedule import check_epochs, default_epochs, scaled_schedule
from hrca.train._splitting import FixedIndexSplitter, split_cells
from hrca.train._trainingplans import AdaptPlan, FinetunePlan, LRSchedule, PretrainPlan
from hrca.uncertainty._cross_fitting import check_folds, check_no_folds, cross_fit
from hrca.uncertainty._held_out import HeldOutScores
from hrca.uncertainty._novelty import novelty
from hrca.uncertainty._posthoc_fit import fit_posthoc, keep_reference

from ._registration import anndata_fields, mudata_fields, weights_fingerprint

logger = logging.getLogger(__name__)

# Cells of a query that are made dense at a time.
PREDICTION_BATCH = 512

# Share of unseen cells from which scores of the others may mislead.
UNSEEN_WARNING_FRACTION = 0.1


class HRCA(BaseModelClass):
    """High-Resolution Cell Annotation: cell types from an annotated reference for a sparse query.

    A transformer-style autoencoder (Gene-AE) is pre-trained on expression, then an SE-Classifier is fine-tuned on its
    latent space (HRCA Training Document). The defaults are the Document's sizes, about 290 million parameters at
    21,333 genes: for a laptop, see :data:`hrca.SIZES`.

    Parameters
    ----------
    adata
        The reference, after :meth:`setup_anndata` or :meth:`setup_mudata`.
    registry
        What scvi saved of a reference; used by :meth:`load` in place of `adata`.
    n_hidden
        Width between genes and latent features.
    n_latent
        Number of latent features; a multiple of `n_heads`.
    n_heads
        Heads of the attention in each encoder layer.
    n_layers
        Number of encoder layers.
    n_feedforward
        Width of the feed-forward network in each encoder layer.
    classifier_widths
        Width of each stage of the classifier.
    dropout_rate
        Dropout in Gene-AE.
    classifier_dropout_rate
        Dropout in the classifier's stages after the first.
    count_likelihood
        Whether the likelihood of the raw counts under each label's profile stands beside the classifier. False: the
        Document's networks alone.

    Attributes
    ----------
    query_match_
        What :meth:`match_query` returned, as a dict; None where no query was matched.
    history
        Every logged number of both phases and of adaptation, by epoch.

    Raises
    ------
    ValueError
        If neither `adata` nor `registry` is given, `adata` was not set up, `n_latent` is not a multiple of `n_heads`, a
        size is below 1, or the classifier has no stage.
    TypeError
        If `registry` is not what scvi saved, such as the name of a size, or a size without the ``**``.

    Notes
    -----
    Where the Document is silent, the published code decides (dropouts, norms, feed-forward width); where the
    published code contradicts the Document (stages of the classifier), the Document does. The count branch,
    :meth:`match_query`, :meth:`adapt` and the one cycle of :meth:`train` are not of the Document (docs/decisions/0003).

    Examples
    --------
    >>> import hrca
    >>> reference = hrca.datasets.pbmc68k()
    >>> query = reference[:50].copy()
    >>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
    >>> model = hrca.HRCA(reference, **hrca.SIZES["laptop"])
    >>> model.train(pretrain_epochs=1, max_epochs=1, enable_progress_bar=False)
    >>> labels = model.predict(query)
    >>> query.obs[["hrca", "hrca_confidence"]].shape
    (50, 2)
    """

    _module_cls = HRCAModule
    _pretrain_plan_cls, _training_plan_cls = PretrainPlan, FinetunePlan
    _data_splitter_cls = FixedIndexSplitter

    # Eleven parameters and not eight: each is a size, a rate or a part of the model.
    def __init__(
        self,
        adata: AnnData | MuData | None = None,
        registry: dict | None = None,
        *,
        n_hidden: int = 5000,
        n_latent: int = 1024,
        n_heads: int = 8,
        n_layers: int = 8,
        n_feedforward: int = 2048,
        classifier_widths: tuple[int, ...] = (512, 256, 128),
        dropout_rate: float = 0.1,
        classifier_dropout_rate: float = 0.5,
        count_likelihood: bool = True,
    ):
        if registry is not None and not (isinstance(registry, Mapping) and "setup_args" in registry):
            raise TypeError(
                f"`registry` must be what scvi saved of a reference's setup, got {registry!r}. A size is given by its "
                'numbers: `HRCA(adata, **hrca.SIZES["laptop"])`.'
            )
        super().__init__(adata, registry)
        check_sizes(n_latent, n_heads, classifier_widths, n_hidden, n_layers, n_feedforward)
        gene_ae = GeneAE(
            n_genes=len(self.gene_names),
            n_hidden=n_hidden,
            n_latent=n_latent,
            n_heads=n_heads,
            n_layers=n_layers,
            n_feedforward=n_feedforward,
            dropout_rate=dropout_rate,
        )
        n_labels = len(self.labels)
        self.module = self._module_cls(
            gene_ae,
            SEClassifier(
                n_latent=n_latent, n_labels=n_labels, widths=classifier_widths, dropout_rate=classifier_dropout_rate
            )
            if n_labels
            else None,
            CountLikelihood(n_labels, len(self.gene_names)) if n_labels and count_likelihood else None,
        )
        self._model_summary_string = (
            f"HRCA with {len(self.gene_names)} genes, {n_labels} labels; n_hidden: {n_hidden}, n_latent: {n_latent}, "
            f"n_heads: {n_heads}, n_layers: {n_layers}, classifier_widths: {classifier_widths}"
        )
        self.is_finetuned_ = False
        self.model_id_ = ""
        self.split_: dict | None = None
        self.test_scores_: list[dict] = []
        self.query_match_: dict | None = None
        self.conformal_scores_: dict[str, np.ndarray] | None = None
        self.n_folds_: int | None = None
        # of a copy of cross-fitting, which it is
        self.fold_: str | None = None
        self.novelty_reference_: dict[str, np.ndarray] | None = None
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    @setup_anndata_dsp.dedent
    def setup_anndata(
        cls,
        adata: AnnData,
        labels_key: str | None = None,
        unlabeled_category: str = "Unknown",
        layer: str | None = None,
        labels_hierarchy: Hierarchy | None = None,
        **kwargs,
    ) -> None:
        """%(summary)s.

        Parameters
        ----------
        %(param_adata)s
        labels_key
            Column of ``adata.obs`` with the cell types, as strings. None: no labels, for pre-training only.
        unlabeled_category
            The label of cells without one; they serve pre-training and never become a prediction of the classifier.
        layer
            Layer with the raw counts, or "X"; None: ``adata.X``, or the layer that has them where X does not.
        labels_hierarchy
            How the labels group: a mapping from child to parent; a separator between the levels in a label's name
            ("/" in "T/CD4"); columns of obs from coarse to fine, the last one `labels_key`; or the path of a file of
            the Cell Ontology in OBO format (a :class:`~pathlib.Path`; needs the extra ``ontology``), where the labels
            are its ids. None: they do not.
        kwargs
            For scvi-tools, when it repeats the setup of a loaded model.

        Raises
        ------
        ValueError
            As :func:`hrca.pp.check`; or if there is no cell or no gene, a gene name is duplicated, `adata` is a view,
            or the labels cannot be learned: no such column, missing values, no strings, unused categories, fewer than
            two labels; or if `labels_hierarchy` is no tree of these labels.
        """
        layer = check_reference(adata, layer, labels_key, adata.obs, unlabeled_category)
        # as parents, which a saved model needs neither columns nor file for
        labels_hierarchy = read_hierarchy(labels_hierarchy, adata.obs, labels_key, unlabeled_category)
        setup_method_args = cls._get_setup_method_args(**locals())
        fields = anndata_fields(layer_to_register(adata, layer), labels_key, unlabeled_category)
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        labels_key: str | None = None,
        unlabeled_category: str = "Unknown",
        rna_layer: str | None = None,
        modalities: dict[str, str] | None = None,
        labels_hierarchy: Hierarchy | None = None,
        **kwargs,
    ) -> None:
        """Set up the MuData object for this model.

        Parameters
        ----------
        mdata
            The reference.
        labels_key
            Column with the cell types, as strings. None: no labels, for pre-training only.
        unlabeled_category
            The label of cells without one.
        rna_layer
            Layer of the RNA modality with the raw counts, as `layer` in :meth:`setup_anndata`.
        modalities
            Where ``rna_layer`` and ``labels_key`` are: the name of a modality for each; the labels may be left out,
            which means ``mdata.obs``. If None, both are in the modality "rna".
        labels_hierarchy
            As in :meth:`setup_anndata`.
        kwargs
            For scvi-tools, when it repeats the setup of a loaded model.

        Raises
        ------
        ValueError
            As :meth:`setup_anndata`; or if there is no such modality.
        """
        modalities = modalities or {"rna_layer": "rna", "labels_key": "rna"}
        rna = get_modality(mdata, modalities.get("rna_layer"))
        in_modality = modalities.get("labels_key")
        obs = mdata.obs if in_modality is None else get_modality(mdata, in_modality).obs
        rna_layer = check_reference(rna, rna_layer, labels_key, obs, unlabeled_category)
        setup_method_args = cls._get_setup_method_args(
            cls=cls,
            mdata=mdata,
            labels_key=labels_key,
            unlabeled_category=unlabeled_category,
            rna_layer=rna_layer,
            modalities=modalities,
        )
        where = cls._create_modalities_attr_dict(modalities, setup_method_args)
        parents = read_hierarchy(labels_hierarchy, obs, labels_key, unlabeled_category)
        setup_method_args["setup_args"]["labels_hierarchy"] = parents
        layer = layer_to_register(rna, rna_layer)
        fields = mudata_fields(layer, labels_key, unlabeled_category, rna=where.rna_layer, labels=where.labels_key)
        manager = AnnDataManager(fields=fields, setup_method_args=setup_method_args)
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)

    @classmethod
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
    ) -> "HRCA":
        """Put a new classifier, for the labels of a new reference, on a Gene-AE that is trained already.

        Genes are matched by name: what the Gene-AE learned of a gene serves wherever the new reference has it; genes
        that are new to it start untrained.

        Parameters
        ----------
        pretrained
            A model that has been pre-trained, the folder of one, or a Gene-AE from :mod:`hrca.compat`.
        adata
            The new reference; it is set up here.
        labels_key
            As in :meth:`setup_anndata`.
        unlabeled_category
            As in :meth:`setup_anndata`.
        layer
            As in :meth:`setup_anndata`.
        classifier_widths
            As in :class:`HRCA`; None: those of `pretrained`, or HRCA's own where it has none.
        count_likelihood
            As in :class:`HRCA`.
        labels_hierarchy
            As in :meth:`setup_anndata`.

        Returns
        -------
        A model that is ready for :meth:`finetune`.

        Raises
        ------
        ValueError
            If the model is not trained, no gene is shared, or as :meth:`setup_anndata`.
        """
        model = cls.load(pretrained) if isinstance(pretrained, str | Path) else pretrained
        if isinstance(model, HRCA):
            model._check_pretrained()
            gene_ae, gene_names, classifier = model.module.gene_ae, model.gene_names, model.module.se_classifier
        else:
            gene_ae, gene_names, classifier = model, pd.Index(model.gene_names), None
        where = gene_names.get_indexer(adata.var_names)
        shared = np.flatnonzero(where >= 0)
        check_shared(len(shared), adata.var_names, gene_names)
        cls.setup_anndata(adata, labels_key, unlabeled_category, layer, labels_hierarchy)
        sizes = {**gene_ae.sizes, **(classifier.sizes if classifier is not None else {})}
        if classifier_widths is not None:
            sizes["classifier_widths"] = classifier_widths
        new = cls(adata, count_likelihood=count_likelihood, **sizes)
        new.module.gene_ae.copy_weights_from(gene_ae, shared, where[shared])
        new.module.eval()
        new.is_trained_ = True
        logger.info(
            "%d of %d genes are known to the Gene-AE; %d start untrained.",
            len(shared),
            adata.n_vars,
            adata.n_vars - len(shared),
        )
        return new

    @property
    def gene_names(self) -> pd.Index:
        """The model's genes, in its order, shape (n_genes,)."""
        return pd.Index(self.get_state_registry(REGISTRY_KEYS.X_KEY)["column_names"])

    @property
    def labels(self) -> list[str]:
        """The labels that the model tells apart, in the order of its probabilities; empty without labels."""
        if REGISTRY_KEYS.LABELS_KEY not in self.registry["field_registries"]:
            return []
        mapping = self.get_state_registry(REGISTRY_KEYS.LABELS_KEY)["categorical_mapping"]
        # scvi keeps the unlabelled category in the last place, also when no cell has it
        return [str(label) for label in mapping[:-1]]

    @property
    def unlabeled_category(self) -> str:
        """The label of cells without one, and of query cells that cannot be judged."""
        return self.registry["setup_args"]["unlabeled_category"]

    @property
    def labels_hierarchy(self) -> dict[str, str]:
        """The parent of each label and ancestor that has one; empty without a hierarchy."""
        return dict(self.registry["setup_args"].get("labels_hierarchy") or {})

    def match_query(self, query: AnnData | MuData, *, layer: str | None = None) -> pd.Series:
        """Make the training that follows serve a query: its genes and its depths; labels play no part.

        The networks then see only the genes that the query has, normalised over them. With ``corruption="thin"``,
        training cells are brought to depths drawn from the query's cells; where these are deeper than the reference,
        the reference is the limit, and :meth:`predict` thins the query's cells to it. ``train(query=...)`` calls this.
        A model that was fine-tuned before predicts again after :meth:`train` or :meth:`finetune`.

        Parameters
        ----------
        query
            As in :meth:`predict`.
        layer
            As in :meth:`predict`.

        Returns
        -------
        What was matched, as objects: ``n_shared_genes``, of ``n_genes``; ``shared_information``, the share of what all
        genes tell about the label (Jensen-Shannon divergence of the labels' profiles) that the shared ones tell, NaN
        where the reference has no labels; ``query_depth`` and ``reference_depth``, the median counts of
        a cell on the shared genes; and ``share_kept``, the share of a reference cell's counts that remain at the
        query's median depth, on average.

        Raises
        ------
        ValueError
            As :meth:`predict`, for the query; or if no cell of the query has counts on the model's genes, or the model
            was loaded without its reference.
        """
        self._check_has_reference()
        # all genes: which were used before is of no matter to the training that follows
        opened = self._open_query(query, layer, TargetGenes(self.gene_names, np.ones(len(self.gene_names))))
        present = opened.alignment.present
        depth = np.concatenate([np.zeros(0), *(x.sum(axis=1) for _, x in opened.batches(PREDICTION_BATCH))])
        counts = self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        codes = self._codes() if self.labels else None
        quantiles, self.query_match_ = summarize_query_match(counts, codes, len(self.labels), present, depth)
        self.module.set_query_match(present.astype(np.float32), quantiles)
        # the networks have not learned on these genes and depths
        self.is_finetuned_, self.model_id_ = False, ""
        logger.info("Matched to the query: %s.", self.query_match_)
        return pd.Series(self.query_match_, dtype=object)

    # More than eight parameters and forty lines, here and below: each is one that the Document's own call names, or
    # that every scvi-tools model has, and the lines hand them on.
    def pretrain(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int = 128,
        lr: float = 1e-3,
        lr_factor: float = 0.1,
        lr_patience: int = PretrainPlan.document_patience,
        lr_hold_epochs: int = PretrainPlan.document_hold_epochs,
        lr_schedule: LRSchedule = "plateau",
        corruption: Corruption = "thin",
        train_size: float = 0.9,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_interval: int = 100,
        resume: bool = False,
        tensorboard: bool = False,
        num_workers: int = 0,
        callbacks: list[Callback] | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train Gene-AE to reconstruct cells from sparser copies of themselves; labels play no part.

        Parameters
        ----------
        max_epochs
            Number of epochs; None: the Document's 1,000, fewer for more than 20,000 cells.
        batch_size
            Cells in a batch.
        lr
            Learning rate of Adam.
        lr_factor
            What the learning rate is multiplied with when the loss has stopped falling.
        lr_patience
            Epochs without a lower loss before that.
        lr_hold_epochs
            Epochs at the start in which the learning rate is left alone.
        lr_schedule
            "plateau": the Document's, by the three above; the weights of the epoch with the lowest loss are kept.
            "one_cycle": the learning rate rises to `lr` and falls again, once over all epochs, and Adam's first beta
            falls and rises against it (Smith, arXiv:1803.09820, with torch's defaults); those of the last are kept.
        corruption
            How training cells are made sparser: "thin" (each cell is brought to a depth that is log-uniform between
            its own and 10 counts), "mask" (each entry is hidden with probability 0.7, as in the published code) or
            "none".
        train_size
            Share of the cells of each type that are trained on; the others choose the epoch whose weights are kept
            (with "plateau"), and teach how to weigh network and counts. 1: none are held out, the training loss
            chooses, and the weights stay at their prior. One split serves both phases.
        accelerator
            Lightning's: "cpu", "gpu", "auto".
        devices
            Lightning's.
        checkpoint_dir
            Folder for checkpoints that a killed training goes on from; None: none are written.
        checkpoint_interval
            Epochs between two checkpoints.
        resume
            Go on from the newest whole checkpoint in `checkpoint_dir`, with its learning rate; from the beginning if
            there is none. A phase that has ended is not trained further.
        tensorboard
            Write losses, learning rate and accuracies for TensorBoard, to ``tensorboard`` in `checkpoint_dir`, or in
            scvi-tools' logging folder.
        num_workers
            Processes that prepare batches.
        callbacks
            Further Lightning callbacks.
        trainer_kwargs
            For the Trainer of scvi-tools and Lightning, e.g. ``enable_progress_bar=False``.

        Raises
        ------
        ValueError
            If `corruption` is none of the three, `batch_size` is below 2, `max_epochs` or `checkpoint_interval` is
            below 1, `train_size` is not in (0, 1] or not the one that an earlier phase used, there are fewer than 2
            cells to train on, the model was loaded without its reference, `resume` is asked for without
            `checkpoint_dir`, without it the folder has checkpoints already, the checkpoint is of another model, or the
            loss was NaN in every epoch.
        OSError
            If a checkpoint cannot be written.
        TypeError
            If `max_epochs` is neither a whole number nor None.
        """
        self._check_has_reference()
        phase = {
            "train_size": train_size,
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "plan_kwargs": {
                "corruption": corruption,
                "lr": lr,
                "lr_factor": lr_factor,
                "lr_patience": lr_patience,
                "lr_hold_epochs": lr_hold_epochs,
                "lr_schedule": lr_schedule,
            },
            "checkpoint_interval": checkpoint_interval,
            "resume": resume,
            "num_workers": num_workers,
            "trainer_kwargs": {"accelerator": accelerator, "devices": devices, **trainer_kwargs},
        }
        self._fit({"pretrain": phase}, checkpoint_dir, tensorboard=tensorboard, callbacks=callbacks)

    def finetune(
        self,
        max_epochs: int | None = None,
        *,
        batch_size: int = 128,
        lr: float = 1e-3,
        lr_factor: float = 0.1,
        lr_patience: int = FinetunePlan.document_patience,
        lr_hold_epochs: int = FinetunePlan.document_hold_epochs,
        lr_schedule: LRSchedule = "plateau",
        corruption: Corruption = "thin",
        train_size: float = 0.9,
        n_folds: int | None = None,
        freeze_encoder_epochs: int = 0,
        encoder_lr: float | None = None,
        test_adata: AnnData | MuData | None = None,
        test_labels_key: str | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_interval: int = 20,
        resume: bool = False,
        tensorboard: bool = False,
        num_workers: int = 0,
        callbacks: list[Callback] | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train both networks on the labels; cells of the unlabelled category are left out.

        Parameters
        ----------
        max_epochs
            Number of epochs; None: the Document's 200, fewer for more than 20,000 cells.
        batch_size
            As in :meth:`pretrain`.
        lr
            As in :meth:`pretrain`.
        lr_factor
            As in :meth:`pretrain`.
        lr_patience
            As in :meth:`pretrain`.
        lr_hold_epochs
            As in :meth:`pretrain`.
        lr_schedule
            As in :meth:`pretrain`.
        corruption
            As in :meth:`pretrain`.
        train_size
            As in :meth:`pretrain`.
        n_folds
            Number of copies that are fine-tuned before the model, each without another part of the labelled cells, and
            each asked about that part: all cells of the reference (at most 10,000; for the sets of labels, 2,000) then
            teach how far to trust what, and how often each label is right, in place of the held-out share. The networks
            are those that they would be without, to the last bit; labels may change, as probabilities then know how
            common a label is and which others it is mistaken for. Fine-tuning takes `n_folds` + 1 times as long, and
            with `checkpoint_dir` leaves as many more checkpoints, in ``fold-1``, ... Copies share the Gene-AE that
            there is: where it was pre-trained on their cells they are a little too sure (:meth:`train` pre-trains each
            without), and one from :meth:`from_pretrained` that was fine-tuned on this reference would tell them the
            labels. None: no copies.
        freeze_encoder_epochs
            Epochs at the start in which the encoder is not trained.
        encoder_lr
            Learning rate of the encoder at the start; None: `lr`.
        test_adata
            Labelled cells that the networks annotate every `checkpoint_interval` epochs, with any genes in any order;
            the counts join in only after training. Their scores are in :attr:`test_scores`, and with `checkpoint_dir`
            also in ``test_scores.csv``, beside the confusions as ``confusion_<epoch>.csv`` and ``.png``. They play no
            part in training.
        test_labels_key
            Column of its obs with the known labels; None: `labels_key` of the setup. Labels that the reference lacks
            are counted, not scored.
        accelerator
            As in :meth:`pretrain`.
        devices
            As in :meth:`pretrain`.
        checkpoint_dir
            As in :meth:`pretrain`.
        checkpoint_interval
            As in :meth:`pretrain`.
        resume
            As in :meth:`pretrain`.
        tensorboard
            As in :meth:`pretrain`; also the test cells' scores and confusion.
        num_workers
            As in :meth:`pretrain`.
        callbacks
            As in :meth:`pretrain`.
        trainer_kwargs
            As in :meth:`pretrain`.

        Raises
        ------
        ValueError
            As :meth:`pretrain`; or if the reference was set up without labels, the test cells cannot be annotated or
            have no such column, `n_folds` is no whole number from 2 to that of the labelled cells, or it is asked for
            of a model that was trained on labels before, or with checkpoints of other folds, or not asked for and the
            checkpoints are of folds.
        OSError
            If a checkpoint cannot be written.
        TypeError
            If `max_epochs` is neither a whole number nor None.
        """
        self._check_has_reference()
        self._check_has_labels()
        test = None if test_adata is None else self._test_cells(test_adata, test_labels_key)
        phase = {
            "train_size": train_size,
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "plan_kwargs": {
                "corruption": corruption,
                "lr": lr,
                "lr_factor": lr_factor,
                "lr_patience": lr_patience,
                "lr_hold_epochs": lr_hold_epochs,
                "lr_schedule": lr_schedule,
                "freeze_encoder_epochs": freeze_encoder_epochs,
                "encoder_lr": encoder_lr,
            },
            "checkpoint_interval": checkpoint_interval,
            "resume": resume,
            "num_workers": num_workers,
            "trainer_kwargs": {"accelerator": accelerator, "devices": devices, **trainer_kwargs},
        }
        watched = {"test": test, "tensorboard": tensorboard, "callbacks": callbacks}
        self._fit({"finetune": phase}, checkpoint_dir, n_folds, **watched)

    def train(
        self,
        pretrain_epochs: int | None = None,
        max_epochs: int | None = None,
        *,
        query: AnnData | MuData | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        lr_schedule: LRSchedule = "one_cycle",
        corruption: Corruption = "thin",
        train_size: float = 0.9,
        n_folds: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        checkpoint_dir: str | Path | None = None,
        checkpoint_interval: int = 20,
        resume: bool = False,
        tensorboard: bool = False,
        num_workers: int = 0,
        callbacks: list[Callback] | None = None,
        **trainer_kwargs,
    ) -> None:
        """Pre-train, then fine-tune.

        With ``lr_schedule="plateau"``, how long the learning rate is held, and its patience, are in proportion to the
        epochs: the Document's at its 1,000 and 200 epochs, a tenth of that at a tenth of them. :meth:`pretrain` and
        :meth:`finetune` take any.

        Parameters
        ----------
        pretrain_epochs
            Epochs of :meth:`pretrain`; 0: none; None: as many as make about 400 optimiser steps, at least 10 and at
            most the Document's 1,000.
        max_epochs
            Epochs of :meth:`finetune`; None: as many as make about 700 optimiser steps, at least 10 and at most the
            Document's 200; with ``lr_schedule="plateau"`` fewer where the validation loss has stopped falling.
        query
            Cells that the model is to annotate; training is matched to their genes and depths, see :meth:`match_query`; their
            counts are where the reference's were, or else call :meth:`match_query` with a `layer` before. None: as matched
            before; if nothing was, all genes, and depths that are log-uniform between a cell's own and 10 counts.
        batch_size
            As in :meth:`pretrain`, for both phases, as all below.
        lr
            As in :meth:`pretrain`.
        lr_schedule
            As in :meth:`pretrain`.
        corruption
            As in :meth:`pretrain`.
        train_size
            As in :meth:`pretrain`.
        n_folds
            As in :meth:`finetune`, but that each copy is pre-trained without its cells, too: all of training takes
            `n_folds` + 1 times as long. With ``pretrain_epochs=0`` copies share the Gene-AE that there is.
        accelerator
            As in :meth:`pretrain`.
        devices
            As in :meth:`pretrain`.
        checkpoint_dir
            As in :meth:`pretrain`; one folder for both phases.
        checkpoint_interval
            As in :meth:`pretrain`.
        resume
            Go on from the newest whole checkpoint in `checkpoint_dir`, in whichever phase it is; from the beginning if
            there is none.
        tensorboard
            As in :meth:`pretrain`.
        num_workers
            As in :meth:`pretrain`.
        callbacks
            Lightning callbacks of fine-tuning only: what reports a finished training would report the first phase.
        trainer_kwargs
            For the Trainer of scvi-tools and Lightning; `logger` and early stopping are for fine-tuning only.

        Raises
        ------
        ValueError
            As :meth:`finetune`, before pre-training starts; or if `n_folds` is asked for together with pre-training, of
            a model that was pre-trained before.
        OSError
            If a checkpoint cannot be written.
        TypeError
            As :meth:`pretrain`, for both numbers of epochs.
        """
        self._check_has_reference()
        self._check_has_labels()
        check_epochs(pretrain_epochs=pretrain_epochs, max_epochs=max_epochs)
        if query is not None:
            self.match_query(query)
        n_labelled, early_stopping = int((self._codes() < len(self.labels)).sum()), {}
        if pretrain_epochs is None:
            pretrain_epochs = default_epochs(self._pretrain_plan_cls, self.summary_stats.n_cells, batch_size)
        if max_epochs is None:
            max_epochs = default_epochs(self._training_plan_cls, n_labelled, batch_size)
            early_stopping = {"early_stopping": lr_schedule == "plateau" and train_size < 1}
        schedule = scaled_schedule(self._training_plan_cls, max_epochs)
        # after two reductions of the learning rate in vain
        early_stopping |= {"early_stopping_patience": 2 * schedule["lr_patience"] + 1} if early_stopping else {}
        trainer_kwargs = {"accelerator": accelerator, "devices": devices, **early_stopping, **trainer_kwargs}
        plan_kwargs = {"corruption": corruption, "lr": lr, "lr_schedule": lr_schedule}
        shared = {
            "train_size": train_size,
            "batch_size": batch_size,
            "checkpoint_interval": checkpoint_interval,
            "resume": resume,
            "num_workers": num_workers,
        }
        phases = {}
        if pretrain_epochs != 0:
            phases["pretrain"] = {
                "max_epochs": pretrain_epochs,
                "plan_kwargs": {**plan_kwargs, **scaled_schedule(self._pretrain_plan_cls, pretrain_epochs)},
                "trainer_kwargs": drop_prefixed(trainer_kwargs, FINETUNE_ONLY_KWARGS),
                **shared,
            }
        phases["finetune"] = {
            "max_epochs": max_epochs,
            "plan_kwargs": {**plan_kwargs, **schedule},
            "trainer_kwargs": trainer_kwargs,
            **shared,
        }
        self._fit(phases, checkpoint_dir, n_folds, tensorboard=tensorboard, callbacks=callbacks)

    def adapt(
        self,
        query: AnnData | MuData,
        *,
        layer: str | None = None,
        max_steps: int = 200,
        batch_size: int = 128,
        lr: float = 3e-4,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        callbacks: list[Callback] | None = None,
        **trainer_kwargs,
    ) -> "HRCA":
        """Train a copy of the model a little further, on the query's own cells, without labels.

        The model labels the query; then the networks learn from batches that are half reference, with its labels, and
        half query, with what the model said, each cell weighed by its confidence (self-training: Lee, "Pseudo-Label",
        ICML 2013 workshop). All labelled cells of the reference take part, those too that training had held out. Not of
        the Document.

        Parameters
        ----------
        query
            As in :meth:`predict`; of more than 20,000 cells, as many are drawn.
        layer
            As in :meth:`predict`.
        max_steps
            Optimiser steps.
        batch_size
            Cells in a batch, half of each side; even.
        lr
            Highest learning rate of Adam; it rises and falls once.
        accelerator
            As in :meth:`pretrain`.
        devices
            As in :meth:`pretrain`.
        callbacks
            As in :meth:`pretrain`.
        trainer_kwargs
            As in :meth:`pretrain`.

        Returns
        -------
        The adapted model; this one stays as it is. One that is adapted already is adapted further, with a warning.

        Raises
        ------
        ValueError
            If the model is not fine-tuned or was loaded without its reference, no cell of the query has counts on its
            genes, `max_steps` is below 1, or `batch_size` is odd or below 4; or as :meth:`predict`, for the query.
        """
        self._check_finetuned()
        self._check_has_reference()
        if max_steps < 1 or batch_size < 4 or batch_size % 2:
            raise ValueError(
                "`max_steps` must be at least 1, and `batch_size` at least 4 and even, got "
                f"{max_steps} and {batch_size}."
            )
        if self.module.is_adapted:
            warnings.warn(
                "This model is adapted already, and a second round made the labels of some queries worse. Adapt the "
                "model that `train` left.",
                stacklevel=2,
            )
        adapted = copy.copy(self)
        adapted.module = copy.deepcopy(self.module)
        adapted._adapt(
            self._open_query(query, layer),
            max_steps=max_steps,
            batch_size=batch_size,
            lr=lr,
            callbacks=callbacks,
            trainer_kwargs={"accelerator": accelerator, "devices": devices, **trainer_kwargs},
        )
        return adapted

    @property
    def test_scores(self) -> pd.DataFrame:
        """Scores of fine-tuning's test cells, by the networks alone: a row for each look at them, empty without.

        ``epoch``, the scores of :func:`hrca.metrics.annotation_scores`, and ``n_unseen``, the number of cells whose
        label the reference lacks.
        """
        return pd.DataFrame(self.test_scores_)

    def predict(
        self,
        adata: QueryInput | Sequence[QueryInput] | Mapping[str, QueryInput] | None = None,
        *,
        key_added: str | None = "hrca",
        soft: bool = False,
        coverage: float | None = None,
        class_conditional: bool = False,
        reweight_to_query: bool = False,
        level: int | None = None,
        min_confidence: float = 0.0,
        novelty_fpr: float | None = None,
        platform_correction: bool = True,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH,
        ontology_terms: Mapping[str, str] | None = None,
        enable_progress_bar: bool = True,
    ) -> pd.Categorical | pd.DataFrame | list | dict:
        """Label each cell of a query, with a confidence.

        The query is not registered and its matrices are not changed. Its genes are found by name, whatever their
        order; the model's other genes count as absent, and each cell is normalised over the genes that are present.

        Parameters
        ----------
        adata
            The query: raw counts, shape (n_obs, any genes), sparse or dense, in memory, backed or of dask: an AnnData,
            the RNA modality of a MuData, the one table of a SpatialData, an AnnCollection, or the path of an h5ad file
            or a zarr folder. A list or dict of such is predicted one by one, after all have been checked. The reference
            itself if None. What is not in memory is read some thousand cells at a time.
        key_added
            Where the results are written, here for "hrca": ``obs["hrca"]``, the label (categorical);
            ``obs["hrca_confidence"]``, its calibrated probability (float32, 0 to 1); ``obs["hrca_novelty"]``, the share
            of reference cells, thinned to the query's depths, that are less strange than it among those of about its
            depth (float32, 0 to 1);
            ``obsm["hrca_probabilities"]``, the probabilities of all labels (float32 DataFrame, n_obs x n_labels);
            ``uns["hrca"]``, version, model, matrix, gene overlap, settings and seed. For a path, into the file, all of
            it in one step (docs/decisions/0006). None: nothing is written.
        soft
            Return the probabilities in place of the labels.
        coverage
            Write, for each cell, the set of labels that holds the true one with this probability:
            ``obs["hrca_set_size"]``, how many there are, and ``obsm["hrca_set"]``, which (boolean DataFrame, n_obs x
            n_labels). None: no sets. It holds for cells like the reference's, at the depth of the query; not across
            platforms, and not for types that the reference lacks.
        class_conditional
            Choose the sets so that `coverage` is nearly kept for each label, not only over all cells; they are larger.
        weighted
            Choose the sets by held-out cells weighed by how much they are like this query's, in depth and in what was
            said of them: for a query with other shares of the types, or one depth. A cell's set then depends on the
            other cells. What differs between platforms beyond that stays.
        level
            Answer with the labels' ancestors of this level of the hierarchy, 0 for the coarsest, and with labels where
            they do not reach as far; probabilities are summed. None: with labels.
        min_confidence
            The least probability of an answer: where a label's is lower, the finest ancestor that reaches it answers,
            and the unlabelled category where none does.
        novelty_fpr
            Call a cell the unlabelled category when its novelty is 1 less this share or more, so that about this share
            of cells of the reference's types are called so. None: none is. It holds for cells like the reference's, at
            the depth of the query; on another platform more are.
        platform_correction
            Fit, for each gene, how many times more counts this query has of it than the reference, without labels, and
            correct the likelihood of the counts and the novelty by it. A cell's label then depends on the other cells
            of the query; False: on the cell alone, and its novelty on their depths.
        layer
            Where the query's raw counts are: a layer, "X" or "raw". None: in the layer that the reference had, else in
            X; where these hold no counts, in another place that alone does, see :func:`hrca.pp.check`.
        batch_size
            Cells in a batch; one batch at a time is made dense.
        ontology_terms
            Cell Ontology id of each label that can be an answer, or "unknown": ``obs["cell_type"]`` and
            ``obs["cell_type_ontology_term_id"]`` are written, too, as CELLxGENE's schema names them; cells that get the
            unlabelled category, without counts, novel or unsure, are "unknown". None: they are not.
        enable_progress_bar
            Whether to show a bar if prediction takes more than some seconds.

        Returns
        -------
        The label of each cell, in the query's order. With `soft`, the probabilities: a DataFrame, n_obs x n_labels,
        index ``adata.obs_names``. A cell without counts on the model's genes cannot be judged: it gets the unlabelled
        category, confidence 0 and probabilities 0. For a list or dict, a list or dict of these.

        Raises
        ------
        ValueError
            As :func:`hrca.pp.check`; or if the model is not fine-tuned, a MuData lacks the RNA modality, a SpatialData
            has not one table, a file does not hold an AnnData or was changed meanwhile, `batch_size` is below 1,
            `ontology_terms` lacks a label that can be an answer or has what is no id, or `adata` is None and the model
            was loaded without its reference; if `coverage` is not between 0 and 1, there is no `key_added` to write
            sets or ids to, no cells were held out from training, or `class_conditional` or `weighted` is asked for
            without `coverage` or both are; if `level` is asked for without a hierarchy or is not a level of it, or
            `min_confidence` is not in [0, 1]; or if `novelty_fpr` is not between 0 and 1, or the model knows no
            reference cells (published weights).
        TypeError
            If `adata` is of another type.
        OSError
            If there is no such file, or the results cannot be written into it.

        Notes
        -----
        In the columns of ``obsm``, "/" is replaced by "|": a name with a slash cannot be written to h5ad or zarr.
        """
        self._check_finetuned()
        vocabulary = self._vocabulary()
        asked = PredictOptions(level, min_confidence, novelty_fpr, coverage, class_conditional, reweight_to_query)
        writes, knows_reference = key_added is not None, self.novelty_reference_ is not None
        asked.check(
            vocabulary, writes=writes, knows_reference=knows_reference, has_held_out=self.conformal_scores_ is not None
        )
        if ontology_terms is not None:
            check_ontology_terms(vocabulary, asked, ontology_terms, writes=writes)
        several = isinstance(adata, Mapping | list | tuple)
        samples = adata if isinstance(adata, Mapping) else dict(enumerate(adata if several else [adata]))
        queries, results = {}, {}
        for name, sample in samples.items():
            with annotate_sample_errors(name if several else None):
                queries[name] = self._open_query(sample, layer)
                if writes:
                    check_target(queries[name])
        how = {"batch_size": batch_size, "enable_progress_bar": enable_progress_bar}
        with_novelty = knows_reference and (writes or novelty_fpr is not None)
        for name, query in queries.items():
            with annotate_sample_errors(name if several else None):
                judgement = self._predict_probabilities(query, platform_correction=platform_correction, **how)
                ranks = self._novelty(query, judgement, platform_correction, **how) if with_novelty else None
                answers = assemble_result(
                    vocabulary,
                    judgement,
                    query.adata.obs_names,
                    asked,
                    novelty=ranks,
                    held_out=self.conformal_scores_,
                )
                if writes:
                    settings = {
                        **asked.settings(),
                        "platform_correction": platform_correction,
                        "batch_size": batch_size,
                    }
                    annotation = to_entries(key_added, answers, self._provenance(query, judgement, answers, settings))
                    more = {} if ontology_terms is None else cellxgene_columns(answers.labels, ontology_terms)
                    write_result(query, annotation.with_columns(more))
                results[name] = answers.probabilities if soft else answers.labels
        if isinstance(adata, Mapping):
            return results
        return list(results.values()) if several else results[0]

    def get_latent_representation(
        self,
        adata: QueryInput | None = None,
        *,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH,
    ) -> np.ndarray:
        """Return Gene-AE's latent features of each cell.

        Parameters
        ----------
        adata
            As in :meth:`predict`, but for a list or dict.
        layer
            As in :meth:`predict`.
        batch_size
            As in :meth:`predict`.

        Returns
        -------
        Latent features, shape (n_obs, n_latent), float32.

        Raises
        ------
        ValueError
            If no phase has been trained; or for the query, as :meth:`predict`.
        """
        self._check_pretrained()
        query = self._open_query(adata, layer)
        latent = np.zeros((query.n_obs, self.module.gene_ae.sizes["n_latent"]), dtype=np.float32)
        for rows, output, _ in run(self.module.encode, query.batches(batch_size)):
            latent[rows] = output
        return latent

    def get_normalized_expression(
        self,
        adata: QueryInput | None = None,
        *,
        gene_list: list[str] | None = None,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH,
    ) -> pd.DataFrame:
        """Return Gene-AE's reconstruction of each cell.

        Parameters
        ----------
        adata
            As in :meth:`predict`, but for a list or dict.
        gene_list
            The genes to return, in this order; all of the model's if None, a dense table of n_obs x n_genes.
        layer
            As in :meth:`predict`.
        batch_size
            As in :meth:`predict`.

        Returns
        -------
        Reconstructed log1p(counts per 10,000), n_obs x len(gene_list), float32, also of genes that the query lacks.

        Raises
        ------
        ValueError
            If no phase has been trained, or a gene is not one of the model's; or for the query, as :meth:`predict`.
        """
        self._check_pretrained()
        genes = self.gene_names if gene_list is None else pd.Index(gene_list)
        positions = self.gene_names.get_indexer(genes)
        if (positions < 0).any():
            raise ValueError(
                f"`gene_list` must hold genes of the model, but it lacks {list(genes[positions < 0][:3])}. "
                "`model.gene_names` has them all."
            )
        query = self._open_query(adata, layer)
        expression = np.zeros((query.n_obs, len(genes)), dtype=np.float32)
        for rows, output, _ in run(
            lambda counts: self.module.reconstruct(counts)[:, positions], query.batches(batch_size)
        ):
            expression[rows] = output
        return pd.DataFrame(expression, index=query.adata.obs_names, columns=genes)

    def evaluate(
        self,
        adata: QueryInput,
        labels_key: str,
        *,
        platform_correction: bool = True,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH,
    ) -> pd.Series:
        """Score the predictions of cells whose labels are known; nothing is written.

        Parameters
        ----------
        adata
            As in :meth:`predict`, but for a list or dict.
        labels_key
            Column of its obs with the known labels. Cells without one, or with the unlabelled category, are not scored.
        platform_correction
            As in :meth:`predict`.
        layer
            As in :meth:`predict`.
        batch_size
            As in :meth:`predict`.

        Returns
        -------
        Over the cells whose label the model knows, ``n_obs`` of them, the scores of
        :func:`hrca.metrics.annotation_scores`, ``calibration_error`` and ``risk_coverage_area``, with a hierarchy
        of the labels ``hierarchical_f1``; and ``n_unseen``, the number of cells whose label the reference did not have;
        those are not scored.

        Raises
        ------
        ValueError
            As :meth:`predict`; or if there is no such column, or no cell of it has a label that the model knows.
        """
        self._check_finetuned()
        query = self._open_query(adata, layer)
        known = known_labels(query.adata.obs, labels_key, self.unlabeled_category)
        labelled = known.notna().to_numpy()
        seen = known.isin(self.labels).to_numpy()
        if not seen.any():
            raise ValueError(
                f"Some cells must have a label that the model knows, but obs[{labels_key!r}] has "
                f"{list(known[labelled].unique()[:3])} and the model {self.labels[:3]}. "
                "Rename the one kind to the other."
            )
        judgement = self._predict_probabilities(query, batch_size=batch_size, platform_correction=platform_correction)
        answered, confidence, _ = most_likely_labels(self._vocabulary(), judgement)
        predicted = np.asarray(answered)
        scores = annotation_scores(known[seen], predicted[seen])
        answers = known[seen], predicted[seen], confidence[seen]
        scores["calibration_error"] = calibration_error(*answers)
        scores["risk_coverage_area"] = risk_coverage_area(*answers)
        if self.labels_hierarchy:
            along = hierarchical_scores(*answers[:2], self.labels_hierarchy, unlabeled_category=self.unlabeled_category)
            scores["hierarchical_f1"] = along["hierarchical_f1"]
        scores["n_unseen"] = int((labelled & ~seen).sum())
        if scores["n_unseen"] > UNSEEN_WARNING_FRACTION * labelled.sum():
            warnings.warn(
                f"{scores['n_unseen']:.0f} of {labelled.sum()} labelled cells are not scored: the model does not know "
                f"{list(known[labelled & ~seen].unique()[:3])}; it knows {self.labels[:3]}. Are they named otherwise?",
                stacklevel=2,
            )
        return scores

    def save(self, dir_path: str | Path, **kwargs) -> None:
        """Save the model to a folder.

        Parameters
        ----------
        dir_path
            The folder.
        kwargs
            For scvi-tools: ``overwrite``, ``prefix``, ``save_anndata``.

        Raises
        ------
        ValueError
            If the folder exists and ``overwrite=True`` is not given.
        """
        history = self.history_
        self.history_ = plain_history(history)
        try:
            super().save(str(dir_path), **kwargs)
        finally:
            self.history_ = history

    @classmethod
    def load(cls, dir_path: str | Path, adata: AnnData | MuData | None = None, **kwargs) -> "HRCA":
        """Load a model from a folder.

        The file is a pickle, as of all scvi-tools models: load only those that you trust.

        Parameters
        ----------
        dir_path
            The folder.
        adata
            The reference, to go on training; not needed to predict.
        kwargs
            For scvi-tools: ``accelerator``, ``device``, ``prefix``.

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            If the folder has no model, or one of another class.
        """
        file = Path(dir_path) / f"{kwargs.get('prefix') or ''}model.pt"
        if kwargs.get("backup_url") is None and not file.is_file():
            raise ValueError(
                f"There must be a saved model in {str(dir_path)!r}, but {file.name} is not there. Name the folder that "
                "`model.save` was given, and the `prefix` if there was one."
            )
        # scvi reads False as "without", and None as "the one that was saved too", with a warning if none was
        model = super().load(str(dir_path), adata=False if adata is None else adata, **kwargs)
        model.history_ = framed_history(model.history_)
        return model

    def _fit(
        self,
        phases: dict[str, dict],
        checkpoint_dir: str | Path | None,
        n_folds: int | None = None,
        *,
        tensorboard: bool,
        callbacks: list[Callback] | None,
        test: tuple[Query, pd.Series] | None = None,
    ) -> None:
        if tensorboard:
            check_tensorboard()
        folder, testimonies = None if checkpoint_dir is None else Path(checkpoint_dir), None
        if "finetune" in phases and n_folds is None:
            check_no_folds(folder, phases["finetune"]["resume"])
        elif n_folds is not None:
            testimonies = self._cross_fit(phases, folder, n_folds)
        for name, phase in phases.items():
            # what reports a finished training would report the first phase
            of_last = {"callbacks": callbacks, "test": test} if name == list(phases)[-1] else {}
            self._fit_phase(name, phase, folder, tensorboard=tensorboard, **of_last)
        if "finetune" in phases:
            self._fit_posthoc(testimonies)

    def _cross_fit(self, phases: dict[str, dict], folder: Path | None, n_folds: int) -> list[HeldOutScores]:
        last, codes = phases["finetune"], self._codes()
        check_folds(self, n_folds, codes, folder, last["resume"], before=next(iter(phases)))
        self.split_ = split_cells(self, codes, last["train_size"])
        # without validation cells there is nothing to stop early by; the user's logger is the model's
        chooses_epoch = last["plan_kwargs"]["lr_schedule"] == "plateau"
        left_out = "logger" if chooses_epoch else FINETUNE_ONLY_KWARGS
        in_copies = {
            name: {**phase, "trainer_kwargs": drop_prefixed(phase["trainer_kwargs"], left_out)}
            for name, phase in phases.items()
        }

        def fit_copy(own: HRCA, own_folder: Path | None) -> None:
            for name, phase in in_copies.items():
                own._fit_phase(name, phase, own_folder)

        return cross_fit(self, n_folds, fit_copy, codes=codes, folder=folder, chooses_epoch=chooses_epoch)

    def _fit_phase(
        self,
        name: str,
        settings: dict,
        folder: Path | None,
        *,
        tensorboard: bool = False,
        callbacks: list[Callback] | None = None,
        test: tuple[Query, pd.Series] | None = None,
    ) -> None:
        settings = {**settings}
        codes = self._codes() if self.labels else None
        self.split_ = split_cells(self, codes, settings.pop("train_size"))
        history, watchers, monitor = EpochHistory(), [], None
        if test is not None:
            query, known = test
            monitor = MonitorTestSet(
                lambda: most_likely_labels(self._vocabulary(), self._predict_probabilities(query))[0],
                known,
                self.labels,
                interval=settings["checkpoint_interval"],
                folder=folder,
            )
            watchers.append(monitor)
        if tensorboard:
            logs = (folder or Path(scvi_settings.logging_dir)) / "tensorboard"
            watchers.append(TensorBoard(logs, name, history, monitor))
        phase = PhaseConfig(
            name,
            {"pretrain": self._pretrain_plan_cls, "finetune": self._training_plan_cls}[name],
            title=name if self.fold_ is None else f"{self.fold_} {name}",
            checkpoint_dir=folder,
            callbacks=[*watchers, *(callbacks or [])],
            history=history,
            **settings,
        )
        n_obs = self.summary_stats.n_cells
        fit(self, phase, np.ones(n_obs, dtype=bool) if name == "pretrain" else codes < len(self.labels))
        self.model_id_ = weights_fingerprint(self.module)
        if monitor is not None:
            self.test_scores_ = monitor.evaluations

    def _fit_posthoc(self, testimonies: list[HeldOutScores] | None) -> None:
        counts, codes = self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY), self._codes()
        self.novelty_reference_ = keep_reference(self.module, counts, codes)
        self.conformal_scores_ = fit_posthoc(self.module, counts, codes, self.split_, testimonies)
        self.n_folds_ = None if testimonies is None else len(testimonies)
        self.model_id_ = weights_fingerprint(self.module)
        self.is_finetuned_ = True

    def _adapt(
        self,
        query: Query,
        *,
        max_steps: int,
        batch_size: int,
        lr: float,
        callbacks: list[Callback] | None,
        trainer_kwargs: dict,
    ) -> None:
        # adaptation was measured with these; calibrated, it would weigh unsure cells less
        judgement = self._predict_probabilities(query, calibrated=False)
        seed = 0 if scvi_settings.seed is None else scvi_settings.seed
        chosen = sample_query_cells(judgement.has_counts, seed)
        codes = self._codes()
        labelled = np.flatnonzero(codes < len(self.labels))
        counts = self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        known = reference_targets(codes[labelled], len(self.labels), AdaptPlan.loss_weights["label_smoothing"])
        said = query_targets(judgement.probabilities[chosen])
        cells = MixedBatches(
            SoftLabelledCells(counts[labelled], known),
            SoftLabelledCells(gather_cells(query.batches(PREDICTION_BATCH), chosen), said),
            batch_size=batch_size,
            n_steps=min(max_steps, EPOCH_STEPS),
            seed=seed,
        )
        run_adaptation(self, cells, max_steps=max_steps, lr=lr, callbacks=callbacks, trainer_kwargs=trainer_kwargs)
        # it holds the counts of the query, and a copy of the reference's
        self.trainer = None
        self.module.is_adapted.fill_(True)
        self.model_id_ = weights_fingerprint(self.module)
        self.is_finetuned_ = True

    def _predict_probabilities(
        self,
        query: Query,
        *,
        batch_size: int = PREDICTION_BATCH,
        platform_correction: bool = True,
        calibrated: bool = True,
        enable_progress_bar: bool = False,
    ) -> CellProbabilities:
        return predict_probabilities(
            self.module,
            query.batches(batch_size, bar="labels" if enable_progress_bar else None),
            query.n_obs,
            query.alignment.present,
            platform_correction=platform_correction,
            calibrated=calibrated,
        )

    def _vocabulary(self) -> LabelSpace:
        return LabelSpace(self.labels, self.labels_hierarchy, self.unlabeled_category)

    def _novelty(
        self,
        query: Query,
        judgement: CellProbabilities,
        platform_correction: bool,
        *,
        batch_size: int,
        enable_progress_bar: bool,
    ) -> np.ndarray:
        genes_used = self.module.genes_used.cpu().numpy() * query.alignment.present
        bar = "novelty" if enable_progress_bar else None
        return novelty(
            self.novelty_reference_,
            lambda: query.batches(batch_size, bar=bar),
            judgement.depth,
            genes_used,
            query.adata.obs_names if platform_correction else None,
        )

    def _test_cells(self, adata: QueryInput, labels_key: str | None) -> tuple[Query, pd.Series]:
        labels_key = labels_key or self.registry["setup_args"]["labels_key"]
        query = self._open_query(adata, None)
        return query, known_labels(query.adata.obs, labels_key, self.unlabeled_category)

    def _codes(self) -> np.ndarray:
        """Index of each reference cell's label, shape (n_obs,); n_labels for the unlabelled category."""
        return self.adata_manager.get_from_registry(REGISTRY_KEYS.LABELS_KEY).ravel()

    def _open_query(self, adata: QueryInput | None, layer: str | None, genes: TargetGenes | None = None) -> Query:
        adata = self.adata if adata is None else adata
        if adata is None:
            raise ValueError("A query must be given: `adata=`. This model was loaded without its reference.")
        setup_args = self.registry["setup_args"]
        modality = (setup_args.get("modalities") or {"rna_layer": "rna"})["rna_layer"]
        preferred_layer = setup_args.get("layer", setup_args.get("rna_layer"))
        return open_query(
            adata, layer, genes or self._genes_to_find(), modality=modality, preferred_layer=preferred_layer
        )

    def _genes_to_find(self) -> TargetGenes:
        count_likelihood, used = self.module.count_likelihood, self.module.genes_used.cpu().numpy()
        if count_likelihood is None or not count_likelihood.is_fitted:
            return TargetGenes(self.gene_names, used)
        is_informative, profiles = (
            count_likelihood.is_informative.cpu().numpy(),
            count_likelihood.log_profiles.exp().cpu().numpy(),
        )
        return TargetGenes(self.gene_names, used * is_informative, "informative genes", used * profiles.mean(axis=0))

    def _provenance(
        self, query: Query, judgement: CellProbabilities, answers: PredictionResult, settings: dict
    ) -> dict:
        """What uns notes of a prediction."""
        seed = None if scvi_settings.seed is None else int(scvi_settings.seed)
        provenance = {
            **query.provenance(),
            "model_id": self.model_id_,
            "labels": answers.probabilities.columns.to_numpy(dtype=str),
            "platform_log_sd": judgement.platform_log_sd,
            **settings,
            "platform_correction": settings["platform_correction"] and self.module.has_fitted_counts,
            "n_folds": self.n_folds_,
            "seed": seed,
        }
        # h5ad and zarr have no place for None
        return {name: value for name, value in provenance.items() if value is not None}

    def _check_has_reference(self) -> None:
        if self.adata_manager is None:
            raise ValueError(
                "Training needs the reference, but this model was loaded without. "
                "`HRCA.load(path, adata=reference)` brings it back."
            )

    def _check_has_labels(self) -> None:
        if not self.labels:
            raise ValueError(
                "Fine-tuning needs labels, but the reference was set up without. "
                "`HRCA.setup_anndata(adata, labels_key=...)` names their column."
            )

    def _check_pretrained(self) -> None:
        if not self.is_trained_:
            raise ValueError(
                "The model must be trained first: `model.train()`, or `model.pretrain()` for Gene-AE alone."
            )

    def _check_finetuned(self) -> None:
        if not self.is_finetuned_:
            raise ValueError(
                "The model must be trained on labels before it predicts: `model.train()`, or `model.finetune()` after "
                "`model.pretrain()`."
            )
