"""The prediction methods of HRCA: labels, latent features, reconstruction, scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scvi import settings as scvi_settings

from hrca._docs import docs
from hrca._warnings import warn_user
from hrca.annotation._labels import assemble_result, most_likely_labels
from hrca.annotation._options import PredictOptions, check_ontology_terms
from hrca.annotation._prediction_warnings import prediction_warnings
from hrca.annotation._result import PredictionResult, cellxgene_columns, to_entries
from hrca.annotation._write import check_target, write_result
from hrca.data._query import Query, annotate_sample_errors, known_labels
from hrca.data._sources import QueryInput
from hrca.prediction._forward import run
from hrca.prediction._probabilities import CellProbabilities
from hrca.uncertainty._novelty import query_novelty, reference_novelty

from ._base import PREDICTION_BATCH_SIZE, HRCABase
from ._evaluation import evaluation_scores, known_cells


class PredictionMixin(HRCABase):
    """The prediction methods of :class:`hrca.HRCA`."""

    @docs.dedent
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
        open_set: bool = True,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH_SIZE,
        ontology_terms: Mapping[str, str] | None = None,
        enable_progress_bar: bool = True,
    ) -> pd.Categorical | pd.DataFrame | list | dict:
        """Label each cell of a query, with a confidence.

        The query is not registered, and its matrices stay unchanged. Its genes are found by name, in any order. The
        model's other genes count as absent, and each cell is normalised over the genes that are present.

        Parameters
        ----------
        %(query_or_reference)s A list or dict of queries is predicted one by one, after
            all have been checked. Counts that are not in memory are read some thousand cells at a time.
        key_added
            Name of the results. None: nothing is written. With "hrca", these entries are written, into the object or,
            for a path, into the file in one step (docs/decisions/0006):

            - ``obs["hrca"]``, the label (categorical);
            - ``obs["hrca_confidence"]``, its calibrated probability, float32, 0 to 1;
            - ``obs["hrca_novel_probability"]``, the probability that the cell is of none of the labels, float32, 0 to
              1, unless the query is too small;
            - ``obs["hrca_novelty"]``, the fraction of cells of known types that are less novel than the cell, float32,
              0 to 1: cells of the query or, if it is too small, of the reference;
            - ``obsm["hrca_probabilities"]``, the probabilities of all labels, float32, n_obs x n_labels; a row and the
              novel probability sum to 1;
            - ``uns["hrca"]``, version, model, matrix, gene overlap, settings, seed and warnings.
        soft
            If True, return the probabilities and not the labels.
        coverage
            Probability with which the prediction set of a cell contains its true label, in (0, 1). The sets are
            written: ``obs["hrca_set_size"]``, the number of labels, and ``obsm["hrca_set"]``, the labels (boolean,
            n_obs x n_labels). None: no sets. The probability holds for cells like the reference's at the query's depth.
            It does not hold across platforms, nor for types that the reference lacks. A set is empty if the cell is
            most probably of none of the labels, and in rare other cases.
        class_conditional
            If True, choose the sets so that `coverage` nearly holds for each label. The sets are larger.
        reweight_to_query
            If True, weight the held-out cells by their similarity to the query's cells, in depth and in probabilities.
            This serves a query with another composition, or with a single depth. The set of a cell then depends on the
            other cells.
        level
            Level of the hierarchy of labels, 0 for the coarsest. Ancestors of this level replace the labels, and their
            probabilities are sums. A label above this level stays. None: the labels.
        min_confidence
            Minimum probability of a label, 0 to 1. A less probable label is replaced by its finest ancestor that
            reaches it, or else by the unlabelled category.
        novelty_fpr
            False positive rate of novelty detection, in (0, 1). Cells with a novelty of at least 1 - `novelty_fpr` get
            the unlabelled category. About this fraction of cells of the reference's types also get it; more in a query
            of another platform that has fewer than 160 cells or 20,000 counts. None: no cell is rejected.
        %(platform_correction)s
        %(open_set)s
        %(layer)s
        %(prediction_batch_size)s
        ontology_terms
            Cell Ontology id, or "unknown", of each label that can be predicted. ``obs["cell_type"]`` and
            ``obs["cell_type_ontology_term_id"]`` of CELLxGENE's schema are also written. Cells of the unlabelled
            category are "unknown". None: neither is written.
        enable_progress_bar
            If True, show a progress bar when prediction takes more than some seconds.

        Returns
        -------
        The label of each cell, in the query's order. With `soft`, the probabilities: n_obs x n_labels, index
        ``adata.obs_names``. A cell without counts on the model's genes gets the unlabelled category, confidence 0 and
        probabilities 0. For a list or dict, a list or dict of these.

        Raises
        ------
        %(raises_query)s
        ValueError
            If the model is not fine-tuned; `adata` is None and the model was loaded without its reference; or
            `batch_size` is below 1.
        ValueError
            If `coverage` or `novelty_fpr` is not between 0 and 1, or `min_confidence` not in [0, 1]; the model has no
            held-out cells for sets, or no reference cells for novelty (published weights); `class_conditional` or
            `reweight_to_query` is True without `coverage`, or both are; `level` is not a level of the hierarchy;
            `ontology_terms` lacks a label or has an invalid id; or `key_added` is None where results must be written,
            or a name that files cannot hold.
        OSError
            If the results cannot be written into the file: it or its folder is read-only, it is open for writing in
            another program, or the disk is too small.

        Warns
        -----
        UserWarning
            If more than 5 %% of the cells are probably of none of the labels; a label holds most of the cells, but
            hardly any by the network or the count likelihood alone; the platform factors are large; or the query's
            genes cannot tell labels apart.

        Notes
        -----
        In the columns of ``obsm``, "|" replaces "/": h5ad and zarr files cannot hold a name with a slash. With more
        than 4,000 labels, or if cells are named by numbers, entries of ``obsm`` are arrays (docs/decisions/0002).
        """
        options = PredictOptions(level, min_confidence, novelty_fpr, coverage, class_conditional, reweight_to_query)
        self._check_options(options, ontology_terms, writes_results=key_added is not None)
        is_collection = isinstance(adata, Mapping | list | tuple)
        if isinstance(adata, Mapping):
            samples = dict(adata)
        else:
            samples = dict(enumerate(adata if isinstance(adata, list | tuple) else [adata]))
        queries, results = {}, {}
        for name, sample in samples.items():
            with annotate_sample_errors(name if is_collection else None):
                queries[name] = self._open_query(sample, layer)
                if key_added is not None:
                    check_target(queries[name], key_added, self._label_space(), options)
        settings = {
            "platform_correction": platform_correction,
            "open_set": open_set,
            "batch_size": batch_size,
            "enable_progress_bar": enable_progress_bar,
        }
        if key_added is not None and len(queries) > 1:
            for name, query in queries.items():
                with annotate_sample_errors(name):
                    query.check_all_cells(batch_size)
        for name, query in queries.items():
            with annotate_sample_errors(name if is_collection else None):
                result = self._predict_query(query, options, key_added, ontology_terms, **settings)
            results[name] = result.probabilities if soft else result.labels
        if isinstance(adata, Mapping):
            return results
        return list(results.values()) if is_collection else results[0]

    @docs.dedent
    def get_latent_representation(
        self,
        adata: QueryInput | None = None,
        *,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH_SIZE,
    ) -> np.ndarray:
        """Return Gene-AE's latent features of each cell.

        Parameters
        ----------
        %(query_or_reference)s
        %(layer)s
        %(prediction_batch_size)s

        Returns
        -------
        Latent features, shape (n_obs, n_latent), float32.

        Raises
        ------
        %(raises_query)s
        ValueError
            If no phase has been trained.
        """
        self._check_pretrained()
        query = self._open_query(adata, layer)
        n_latent = int(self.module.gene_ae.sizes["n_latent"])
        return self._outputs(self.module.encode, query, n_latent, batch_size)

    @docs.dedent
    def get_normalized_expression(
        self,
        adata: QueryInput | None = None,
        *,
        gene_list: list[str] | None = None,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH_SIZE,
    ) -> pd.DataFrame:
        """Return Gene-AE's reconstruction of each cell.

        Parameters
        ----------
        %(query_or_reference)s
        gene_list
            The genes to return, in this order. None: all genes of the model, a dense table of n_obs x n_genes.
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
        expression = self._outputs(
            lambda counts: self.module.reconstruct(counts)[:, positions], query, len(genes), batch_size
        )
        return pd.DataFrame(expression, index=query.adata.obs_names, columns=genes)

    @docs.dedent
    def evaluate(
        self,
        adata: QueryInput,
        labels_key: str,
        *,
        platform_correction: bool = True,
        open_set: bool = True,
        layer: str | None = None,
        batch_size: int = PREDICTION_BATCH_SIZE,
    ) -> pd.Series:
        """Score the predictions of cells whose labels are known. Nothing is written.

        Parameters
        ----------
        %(labelled_query)s
        labels_key
            Column of its obs with the true labels. Cells without one, or with the unlabelled category, are not scored.
        %(platform_correction)s
        %(open_set)s
        %(layer)s
        %(prediction_batch_size)s

        Returns
        -------
        Over the ``n_obs`` cells whose label the model knows: the scores of :func:`hrca.metrics.annotation_scores`,
        ``calibration_error``, ``risk_coverage_area`` and, with a hierarchy of labels, ``hierarchical_f1``. And
        ``n_unseen``, the number of cells whose label the reference lacks; they are not scored.

        Raises
        ------
        %(raises_query)s
        ValueError
            If the model is not fine-tuned, there is no such column, or the model knows none of its labels.
        """
        self._check_finetuned()
        query = self._open_query(adata, layer)
        true_labels = known_labels(query.adata.obs, labels_key, self.unlabeled_category)
        is_known = known_cells(true_labels, self.labels, labels_key)
        cells = self._predict_probabilities(
            query, batch_size=batch_size, platform_correction=platform_correction, open_set=open_set
        )
        label_space = self._label_space()
        predicted, confidence, _ = most_likely_labels(label_space, cells)
        return evaluation_scores(true_labels, np.asarray(predicted), confidence, is_known, label_space)

    def _check_options(
        self, options: PredictOptions, ontology_terms: Mapping[str, str] | None, *, writes_results: bool
    ) -> None:
        self._check_finetuned()
        label_space = self._label_space()
        options.check(
            label_space,
            writes_results=writes_results,
            has_novelty_reference=self.novelty_reference_ is not None,
            has_conformal_scores=self.conformal_scores_ is not None,
        )
        if ontology_terms is not None:
            check_ontology_terms(label_space, options, ontology_terms, writes_results=writes_results)

    def _predict_query(
        self,
        query: Query,
        options: PredictOptions,
        key_added: str | None,
        ontology_terms: Mapping[str, str] | None,
        **settings: Any,
    ) -> PredictionResult:
        cells = self._predict_probabilities(query, **settings)
        needs_novelty = key_added is not None or options.novelty_fpr is not None
        result = assemble_result(
            self._label_space(),
            cells,
            query.adata.obs_names,
            options,
            novelty=self._novelty(query, cells, settings) if needs_novelty else None,
            conformal_scores=self.conformal_scores_,
        )
        notes = prediction_warnings(cells, self._label_space(), self.gene_names, self._log_profiles())
        for note in notes:
            warn_user(note)
        if key_added is not None:
            provenance = self._provenance(query, cells, result, options, settings)
            provenance["warnings"] = np.array(notes, dtype=str)
            entries = to_entries(key_added, result, provenance)
            if ontology_terms is not None:
                entries = entries.with_columns(cellxgene_columns(result.labels, ontology_terms))
            write_result(query, entries)
        return result

    def _novelty(self, query: Query, cells: CellProbabilities, settings: Mapping[str, Any]) -> np.ndarray | None:
        if cells.cell_fits is not None and cells.has_clusters:
            return query_novelty(cells.cell_fits)
        if self.novelty_reference_ is None:
            return None
        factors = self.module.gene_mask.cpu().numpy() * query.alignment.present
        bar = "novelty" if settings["enable_progress_bar"] else None
        return reference_novelty(
            self.novelty_reference_,
            lambda: query.batches(settings["batch_size"], bar=bar),
            cells.depth,
            factors if cells.query_fit is None else cells.query_fit.factors,
        )

    def _log_profiles(self) -> np.ndarray | None:
        count_likelihood = self.module.count_likelihood
        if count_likelihood is None or not count_likelihood.is_fitted:
            return None
        return count_likelihood.log_profiles.double().cpu().numpy()

    def _outputs(
        self, network: Callable[[torch.Tensor], torch.Tensor], query: Query, n_columns: int, batch_size: int
    ) -> np.ndarray:
        outputs = np.zeros((query.n_obs, n_columns), dtype=np.float32)
        for rows, output, _ in run(network, query.batches(batch_size)):
            outputs[rows] = output
        return outputs

    def _provenance(
        self,
        query: Query,
        cells: CellProbabilities,
        result: PredictionResult,
        options: PredictOptions,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the entries of ``uns``: the query, the model, the settings and the seed."""
        provenance = {
            **query.provenance(),
            "model_id": self.model_id_,
            "labels": result.probabilities.columns.to_numpy(dtype=str),
            "platform_log_sd": cells.platform_log_sd,
            **options.settings(),
            "platform_correction": settings["platform_correction"] and self.module.has_fitted_counts,
            "open_set": cells.has_clusters,
            "batch_size": settings["batch_size"],
            "n_folds": self.n_folds_,
            "seed": None if scvi_settings.seed is None else int(scvi_settings.seed),
        }
        # h5ad and zarr cannot hold None
        return {name: value for name, value in provenance.items() if value is not None}
