"""The steps that all predictions share: checks of the options, warnings, provenance."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from scvi import settings as scvi_settings

from hrca._messages import counted
from hrca._warnings import warn_user
from hrca.annotation._left_out_labels import left_out_sentence
from hrca.annotation._options import PredictOptions, check_ontology_terms
from hrca.annotation._prediction_warnings import PredictionFacts, rejection_warning
from hrca.annotation._reference_warnings import few_genes_warning, label_warnings
from hrca.data._query import Query
from hrca.data._validate import low_gene_coverage
from hrca.prediction._open_set import QueryFit
from hrca.prediction._probabilities import PredictionSettings
from hrca.prediction._query_clusters import MIN_QUERY_CELLS, MIN_QUERY_COUNTS
from hrca.prediction._summary import PredictionSummary

from ._base import HRCABase

logger = logging.getLogger(__name__)


class PredictionSteps(HRCABase):
    """The steps that predictions in this process and on a cluster share."""

    def _check_options(
        self,
        options: PredictOptions,
        ontology_terms: Mapping[str, str] | None,
        *,
        writes_results: bool,
        is_soft: bool = False,
    ) -> None:
        self._check_finetuned()
        if is_soft and not writes_results:
            options.check_used_for_probabilities()
        label_space = self._label_space()
        options.check(
            label_space,
            writes_results=writes_results,
            has_novelty_reference=self.novelty_reference_ is not None,
            has_conformal_scores=self.conformal_scores_ is not None,
        )
        if ontology_terms is not None:
            check_ontology_terms(label_space, options, ontology_terms, writes_results=writes_results)

    def _log_profiles(self) -> np.ndarray | None:
        count_likelihood = self.module.count_likelihood
        if count_likelihood is None or not count_likelihood.is_fitted:
            return None
        return count_likelihood.log_profiles.double().cpu().numpy()

    def _facts(
        self, summary: PredictionSummary, query_fit: QueryFit | None, options: PredictOptions
    ) -> PredictionFacts:
        return PredictionFacts.of(
            summary,
            query_fit,
            self._label_space(),
            self.gene_names,
            self._log_profiles(),
            rejects_novel=options.novelty_fpr is not None,
        )

    def _warn(
        self,
        facts: PredictionFacts,
        options: PredictOptions,
        settings: PredictionSettings,
        n_rejected: int,
        n_obs: int,
    ) -> list[str]:
        """Warn of what makes a prediction doubtful, and return the sentences."""
        sentences = [sentence for texts in self.training_warnings_.values() for sentence in texts]
        few_genes = few_genes_warning(len(self.gene_names))
        sentences += [] if few_genes is None else [few_genes]
        sentences += label_warnings(facts.n_by_label, self.labels, self.label_counts_)
        sentences += facts.sentences
        if options.novelty_fpr is not None and not facts.has_clusters:
            rejected = rejection_warning(n_rejected, n_obs, options.novelty_fpr, self.unlabeled_category)
            sentences += [] if rejected is None else [rejected]
        if settings.open_set and not facts.has_clusters:
            self._log_small_query(int(facts.n_by_label.sum()), facts.n_counts)
        if facts.left_out_labels is not None:
            self._log_once(left_out_sentence(facts.left_out_labels))
        for sentence in sentences:
            warn_user(sentence)
        return sentences

    def _log_small_query(self, n_cells: int, n_counts: int) -> None:
        self._log_once(
            f"{counted(n_cells, 'cell')} with {counted(n_counts, 'count')}: too few to find types that the reference "
            f"lacks. This needs {MIN_QUERY_CELLS} cells and {MIN_QUERY_COUNTS:,} counts on the model's genes."
        )

    def _log_once(self, line: str | None) -> None:
        if line is not None and line not in self._logged_checks:
            self._logged_checks.add(line)
            logger.info("%s", line)

    def _provenance(
        self,
        query: Query,
        facts: PredictionFacts,
        options: PredictOptions,
        settings: PredictionSettings,
        sentences: list[str],
    ) -> dict[str, Any]:
        """Return the entries of ``uns``: the query, the model, the settings, the seed and the warnings."""
        # this one was given when the query was opened
        coverage = low_gene_coverage(query.report)
        provenance = {
            **query.provenance(),
            "model_id": self.model_id_,
            "platform_log_sd": facts.platform_log_sd,
            **options.settings(),
            "platform_correction": settings.platform_correction and facts.platform_log_sd > 0,
            "open_set": facts.has_clusters,
            "unlabeled_category": self.unlabeled_category,
            "novel_groups": facts.novel_groups,
            "left_out_labels": facts.left_out_labels,
            "n_folds": self.n_folds_,
            "n_predicted_cells": None if query.selection is None else query.n_obs,
            "seed": None if scvi_settings.seed is None else int(scvi_settings.seed),
            "warnings": np.array([*sentences, *([] if coverage is None else [coverage])], dtype=str),
        }
        # h5ad and zarr cannot hold None
        return {name: value for name, value in provenance.items() if value is not None}
