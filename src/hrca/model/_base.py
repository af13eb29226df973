"""The state of a model, how it is saved, and the steps that training and prediction share."""

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi import settings as scvi_settings
from scvi.model.base import BaseModelClass

from hrca._docs import docs
from hrca._unsupported import missing_attribute
from hrca.annotation._options import LabelSpace
from hrca.data._batches import KeptBatches
from hrca.data._cell_selection import CellIndices
from hrca.data._gene_map import GeneMap, GeneMapInput, read_gene_map
from hrca.data._query import Query, open_query
from hrca.data._reference_cells import ReferenceCells
from hrca.data._sources import QueryInput
from hrca.data._target_genes import TargetGenes
from hrca.module._module import HRCAModule
from hrca.prediction._probabilities import CellProbabilities, PredictionSettings, predict_probabilities
from hrca.train._query_matching import QueryMatch
from hrca.train._random_states import RandomStream
from hrca.train._splitting import Split
from hrca.uncertainty._conformal import ConformalScores
from hrca.uncertainty._novelty_reference import NoveltyReference

from ._reference_fields import restore_setup
from ._registration import weights_fingerprint
from ._saving import SavingBase, prepare_view
from ._threads import within_cpu_quota

# Number of query cells that are scored at a time.
PREDICTION_BATCH_SIZE = 512

# State that is saved as plain dictionaries: a file then does not depend on the classes of one version.
STATE_CLASSES: dict[str, Any] = {
    "split_": Split,
    "query_match_": QueryMatch,
    "conformal_scores_": ConformalScores,
    "novelty_reference_": NoveltyReference,
}


class ExplainingMeta(type(BaseModelClass)):  # type: ignore[misc]  # its class depends on the version of scvi-tools
    """Says why the class has no method that other models of scvi-tools have."""

    def __getattr__(cls, name: str) -> NoReturn:
        """Raise an AttributeError with the reason."""
        raise missing_attribute(name)


class HRCABase(SavingBase, metaclass=ExplainingMeta):
    """The fields of a model, and the steps that training and prediction share.

    Attributes
    ----------
    module
        The networks, the count likelihood and the calibration.
    is_finetuned_
        True if the weights are those of a fine-tuning, so that the model can predict.
    model_id_
        Fingerprint of the weights; "" while they are changing.
    split_
        Training and validation cells, which all phases share; None before the first phase.
    query_match_
        The fit of a matched query to the reference; None without one.
    conformal_scores_
        Scores of held-out cells for prediction sets; None without held-out cells.
    n_folds_
        Number of folds of a cross-fitting; None without one.
    label_counts_
        Number of reference cells of each label, in the order of :attr:`labels`; None before fine-tuning.
    training_warnings_
        Texts of the warnings of the training that make predictions doubtful, by the last phase of the training.
    stated_facts_
        What a user stated about the reference, for the card; empty if nothing.
    novelty_reference_
        Reference cells of novelty, and the summed counts that platform factors and clusters are compared with; None
        before fine-tuning.
    """

    _state_classes = STATE_CLASSES

    module: HRCAModule
    is_finetuned_: bool
    model_id_: str
    split_: Split | None
    query_match_: QueryMatch | None
    conformal_scores_: ConformalScores | None
    n_folds_: int | None
    label_counts_: list[int] | None
    training_warnings_: dict[str, list[str]]
    stated_facts_: dict[str, str]
    novelty_reference_: NoveltyReference | None
    # not saved: the random numbers of the last training, which the next one continues
    _random_stream: RandomStream | None
    # likewise: the results of checks that were logged
    _logged_checks: set[str]

    def _init_state(self) -> None:
        self._invalidate()
        self.split_ = None
        self.test_scores_ = []
        self.query_match_ = None
        self.conformal_scores_ = None
        self.n_folds_ = None
        self.label_counts_ = None
        self.training_warnings_ = {}
        self.stated_facts_ = {}
        self.novelty_reference_ = None
        # scvi-tools' attribute; a trainer would keep the cells in memory
        self.trainer = None
        self._random_stream = None
        self._logged_checks = set()

    def _invalidate(self) -> None:
        """Mark the model as not fine-tuned: its weights have changed, or are about to."""
        self.is_finetuned_, self.model_id_ = False, ""

    def _mark_fitted(self, *, is_finetuned: bool) -> None:
        """Record the fingerprint of the weights after a training."""
        self.is_finetuned_, self.model_id_ = is_finetuned, weights_fingerprint(self.module)

    if not TYPE_CHECKING:  # a type checker would believe that each attribute exists

        def __getattr__(self, name: str) -> NoReturn:
            """Say why the model has no method that other models of scvi-tools have."""
            raise missing_attribute(name)

    @property
    @docs.dedent
    def gene_names(self) -> pd.Index:
        """The model's genes in its order, shape (n_genes,).

        %(example_model)s
        >>> model.gene_names[:2].tolist()
        ['HES4', 'TNFRSF4']
        """
        return pd.Index(self.get_state_registry(REGISTRY_KEYS.X_KEY)["column_names"])

    @property
    @docs.dedent
    def labels(self) -> list[str]:
        """The labels in the order of the probabilities; empty for a reference without labels.

        %(example_model)s
        >>> model.labels[:2]
        ['CD4+/CD25 T Reg', 'CD4+/CD45RA+/CD25- Naive T']
        """
        if REGISTRY_KEYS.LABELS_KEY not in self.registry["field_registries"]:
            return []
        mapping = self.get_state_registry(REGISTRY_KEYS.LABELS_KEY)["categorical_mapping"]
        # scvi-tools keeps the unlabelled category in the last place, also when no cell has it
        return [str(label) for label in mapping[:-1]]

    @property
    @docs.dedent
    def unlabeled_category(self) -> str:
        """The label of reference cells without a known type, and of query cells that get no label.

        A query cell gets no label if it has no counts, or if `min_confidence` or `novelty_fpr` rejects it.

        %(example_model)s
        >>> model.unlabeled_category
        'Unknown'
        """
        return self.registry["setup_args"]["unlabeled_category"]

    @property
    def labels_hierarchy(self) -> dict[str, str]:
        """The parent of each label and ancestor that has one; empty without a hierarchy.

        Examples
        --------
        >>> import hrca
        >>> reference = hrca.datasets.pbmc68k()
        >>> parents = {"CD8+ Cytotoxic T": "T", "CD4+/CD25 T Reg": "T"}
        >>> options = {"labels_key": "bulk_labels", "labels_hierarchy": parents}
        >>> hrca.HRCA.setup_anndata(reference, **options)
        >>> hrca.HRCA(reference, size="laptop").labels_hierarchy
        {'CD4+/CD25 T Reg': 'T', 'CD8+ Cytotoxic T': 'T'}
        """
        return dict(self.registry["setup_args"].get("labels_hierarchy") or {})

    def _label_space(self) -> LabelSpace:
        return LabelSpace(self.labels, self.labels_hierarchy, self.unlabeled_category)

    def _reference_cells(self) -> ReferenceCells:
        counts = self.adata_manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        labels = self.labels
        if labels:
            codes = self.adata_manager.get_from_registry(REGISTRY_KEYS.LABELS_KEY).ravel()
        else:
            codes = np.zeros(counts.shape[0], dtype=int)
        return ReferenceCells(counts, codes, len(labels))

    def _target_genes(self) -> TargetGenes:
        count_likelihood, gene_mask = self.module.count_likelihood, self.module.gene_mask.cpu().numpy()
        if count_likelihood is None or not count_likelihood.is_fitted:
            return TargetGenes(self.gene_names, gene_mask)
        is_informative = count_likelihood.is_informative.cpu().numpy()
        profiles = count_likelihood.log_profiles.exp().cpu().numpy()
        return TargetGenes(
            self.gene_names, gene_mask * is_informative, "informative genes", gene_mask * profiles.mean(axis=0)
        )

    def _open_query(
        self,
        adata: QueryInput | None,
        layer: str | None,
        genes: TargetGenes | None = None,
        indices: CellIndices | None = None,
        gene_map: GeneMapInput | GeneMap | None = None,
    ) -> Query:
        adata = self.adata if adata is None else adata
        if adata is None:
            raise ValueError("A query must be given: `adata=`. This model was loaded without its reference.")
        return open_query(
            adata,
            layer,
            genes or self._target_genes(),
            modality=self._modality(),
            indices=indices,
            **self._validation_settings(gene_map),
        )

    def _modality(self) -> str:
        """The modality of a MuData that holds the counts."""
        return (self.registry["setup_args"].get("modalities") or {"rna_layer": "rna"})["rna_layer"]

    def _validation_settings(self, gene_map: GeneMapInput | GeneMap | None) -> dict[str, Any]:
        """Return the arguments of a query's validation that the setup of the reference decides."""
        setup_args = self.registry["setup_args"]
        # the table of the setup also finds the genes of queries
        gene_map = setup_args.get("gene_map") if gene_map is None else gene_map
        return {
            "preferred_layer": setup_args.get("layer", setup_args.get("rna_layer")),
            "gene_map": None if gene_map is None else read_gene_map(gene_map),
            "logged": self._logged_checks,
        }

    @staticmethod
    def _kept_batches(query: Query, batch_size: int, *, enable_progress_bar: bool) -> KeptBatches:
        return KeptBatches(lambda bar: query.batches(batch_size, bar=bar if enable_progress_bar else None))

    @within_cpu_quota()
    def _predict_probabilities(
        self,
        query: Query,
        settings: PredictionSettings,
        *,
        batch_size: int = PREDICTION_BATCH_SIZE,
        enable_progress_bar: bool = False,
        batches: KeptBatches | None = None,
    ) -> CellProbabilities:
        return predict_probabilities(
            self.module,
            batches or self._kept_batches(query, batch_size, enable_progress_bar=enable_progress_bar),
            list(query.adata.obs_names),
            query.alignment.present,
            None if self.novelty_reference_ is None else self.novelty_reference_.sums,
            settings,
        )

    @docs.dedent
    def view_anndata_setup(self, adata: AnnData | MuData | None = None, hide_state_registries: bool = False) -> None:
        """Print the setup of the reference.

        Parameters
        ----------
        adata
            An object that this model was set up with; None: the reference.
        hide_state_registries
            If True, leave out the genes and the labels.

        Raises
        ------
        ValueError
            If the model was loaded without its reference, or `adata` was not set up.

        %(example_model)s
        >>> model.view_anndata_setup(hide_state_registries=True)  # doctest: +ELLIPSIS
        Anndata setup with scvi-tools version ...
        <BLANKLINE>
        Setup via `HRCA.setup_anndata` with arguments:
        {
        │   'labels_key': 'bulk_labels',
        │   'unlabeled_category': 'Unknown',
        │   'layer': None,
        ...
        """
        prepare_view()
        if adata is None and self.adata is None:
            raise ValueError(
                "The setup is shown from the reference, but this model was loaded without its reference. "
                "`model.registry['setup_args']` has the arguments; `HRCA.load(path, adata=reference)` loads both."
            )
        super().view_anndata_setup(adata, hide_state_registries)

    @staticmethod
    def _seed() -> int:
        """The seed of scvi-tools; 0 without one."""
        return 0 if scvi_settings.seed is None else int(scvi_settings.seed)

    def _check_reference(self) -> None:
        """Check that the model has its reference, and that this is as it was at its setup."""
        if self.adata_manager is None:
            raise ValueError(
                "Training needs the reference, but this model was loaded without it. "
                "`HRCA.load(path, adata=reference)` loads it with the reference."
            )
        restore_setup(self.adata_manager)

    def _check_has_labels(self) -> None:
        if not self.labels:
            raise ValueError(
                "Fine-tuning needs labels, but the reference was set up without them. "
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
