"""The prediction methods of HRCA: labels, scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hrca._docs import docs
from hrca._records import is_rejected
from hrca._unsupported import PREDICT_UNSUPPORTED, raises_for
from hrca._warnings import annotate_sample_warnings, recorded_warnings
from hrca.annotation._labels import assemble_result, most_likely_labels
from hrca.annotation._options import PredictOptions
from hrca.annotation._result import PredictionResult, cellxgene_columns, to_entries
from hrca.annotation._write import check_target, write_result
from hrca.data._batches import KeptBatches
from hrca.data._cell_selection import CellIndices
from hrca.data._gene_map import GeneMapInput, read_gene_map
from hrca.data._query import Query, annotate_sample_errors, check_all_cells, known_labels
from hrca.data._sources import QueryInput
from hrca.prediction._forward import shared_genes
from hrca.prediction._probabilities import CellProbabilities, PredictionSettings, sample_cells
from hrca.prediction._summary import PredictionSummary
from hrca.train._config import resolve_batch_size
from hrca.uncertainty._novelty import query_novelty, ranked_cells, reference_novelty

from ._base import PREDICTION_BATCH_SIZE
from ._evaluation import evaluation_scores, known_cells
from ._prediction_steps import PredictionSteps
from ._threads import within_cpu_quota


class PredictionMixin(PredictionSteps):
    """The prediction methods of :class:`hrca.HRCA`."""

    @raises_for(PREDICT_UNSUPPORTED)
    @docs.dedent
    def predict(
        self,
        adata: QueryInput | Sequence[QueryInput] | Mapping[str, QueryInput] | None = None,
        indices: CellIndices | None = None,
        soft: bool = False,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
        *,
        key_added: str | None = "hrca",
        coverage: float | None = None,
        class_conditional: bool = False,
        reweight_to_query: bool = False,
        level: int | None = None,
        min_confidence: float = 0.0,
        novelty_fpr: float | None = None,
        platform_correction: bool = True,
        open_set: bool = True,
        layer: str | None = None,
        ontology_terms: Mapping[str, str] | None = None,
        gene_map: GeneMapInput | None = None,
        enable_progress_bar: bool = True,
    ) -> pd.Categorical | pd.DataFrame | list | dict:
        """Label each cell of a query, with a confidence.

        The query is not registered, and its matrices stay unchanged. Its genes are found by name, in any order. The
        model's other genes count as absent, and each cell is normalised over the genes that are present.

        Parameters
        ----------
        %(query_or_reference)s A list or dict of queries is predicted one by one, after
            all have been checked. Counts that are not in memory are read some thousand cells at a time.
        %(indices)s These cells are then the whole query: platform factors, novelty and the
            probability of a novel type are estimated from them. In what is written, the other cells have missing
            values, also where they had results of an earlier prediction, and no label in their sets.
        soft
            If True, return the probabilities and not the labels.
        %(prediction_batch_size)s
        key_added
            Name of the results. None: nothing is written. With "hrca", these entries are written, into the object or,
            for a path, into the file in one step (:doc:`decision 6 </decisions/0006-results-into-files>`):

            - ``obs["hrca"]``, the label (categorical);
            - ``obs["hrca_confidence"]``, its calibrated probability, float32, 0 to 1;
            - ``obs["hrca_novel_probability"]``, the probability that the cell is of none of the labels, float32, 0 to
              1; missing if the query is too small, or the cell has no counts;
            - ``obs["hrca_novelty"]``, the fraction of cells of known types that are less novel than the cell, float32,
              0 to 1: cells of the query or, if it is too small, of the reference;
            - ``obsm["hrca_probabilities"]``, the probabilities of all labels, float32, n_obs x n_labels; a row and the
              novel probability sum to 1;
            - ``uns["hrca"]``, version, model, matrix, gene overlap, settings, seed and warnings.
        coverage
            Probability with which the prediction set of a cell contains its true label, in (0, 1). The sets are
            written: ``obs["hrca_set_size"]``, the number of labels, and ``obsm["hrca_set"]``, the labels (boolean,
            n_obs x n_labels). None: no sets. The probability holds for cells like the reference's at the query's depth.
            It does not hold across platforms, nor for types that the reference lacks. A set is empty if the cell
            has a novel probability of at least .5, and in rare other cases.
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
            False positive rate of novelty detection, in (0, 1). Cells with a novelty of at least 1 - `novelty_fpr`, or
            a novel probability of at least .5, get the unlabelled category. About this fraction of cells of the
            reference's types also get it; more in a query of another platform that has fewer than 160 cells or 20,000
            counts. None: no cell is rejected.
        %(platform_correction)s
        %(open_set)s
        %(layer)s
        ontology_terms
            Cell Ontology id, or "unknown", of each label that can be predicted. ``obs["cell_type"]`` and
            ``obs["cell_type_ontology_term_id"]`` of CELLxGENE's schema are also written, unless the query has columns
            of these names that HRCA has not written. Cells of the unlabelled category are "unknown". None: neither is
            written.
        %(gene_map)s
        enable_progress_bar
            If True, show a progress bar when prediction takes more than some seconds.

        Returns
        -------
        The label of each cell, in the order of the query or of `indices`, categorical. With `soft`, the probabilities:
        n_obs x n_labels, index ``adata.obs_names``. A cell without counts on the model's genes gets the unlabelled
        category, confidence 0 and probabilities 0. For a list or dict, a list or dict of these.

        Raises
        ------
        %(raises_query)s
        ValueError
            If the model is not fine-tuned; `adata` is None and the model was loaded without its reference;
            `batch_size` is below 1; or `indices` are given for a list or dict.
        ValueError
            If `coverage` or `novelty_fpr` is not between 0 and 1, or `min_confidence` not in [0, 1]; the model has no
            held-out cells for sets, or no reference cells for novelty (published weights); `class_conditional` or
            `reweight_to_query` is True without `coverage`, or both are; `level` is not a level of the hierarchy;
            `min_confidence` or `novelty_fpr` is given, but no label is returned or written;
            `ontology_terms` lacks a label or has an invalid id; `key_added` is None where results must be written, or
            a name that files cannot hold; or the results would replace entries that HRCA has not written.
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
        than 4,000 labels, or if cells are named by numbers, entries of ``obsm`` are arrays (:doc:`decision 2
        </decisions/0002-slashes-in-labels>`).

        %(example_trained)s
        >>> query = reference[:50].copy()
        >>> labels = model.predict(query, coverage=0.9)
        >>> query.obs[["hrca", "hrca_confidence", "hrca_novelty", "hrca_set_size"]].shape
        (50, 4)
        >>> model.predict(query, soft=True, key_added=None).shape
        (50, 10)
        """
        options = PredictOptions(level, min_confidence, novelty_fpr, coverage, class_conditional, reweight_to_query)
        self._check_options(options, ontology_terms, writes_results=key_added is not None, is_soft=soft)
        batch_size = resolve_batch_size(batch_size)
        is_collection = isinstance(adata, Mapping | list | tuple)
        if isinstance(adata, Mapping):
            samples = dict(adata)
        else:
            samples = dict(enumerate(adata if isinstance(adata, list | tuple) else [adata]))
        if is_collection and indices is not None:
            raise ValueError(
                f"`indices` name cells of one query, got a {type(adata).__name__} of {len(samples)}. Predict the "
                "queries one by one."
            )
        table = None if gene_map is None else read_gene_map(gene_map)
        queries, results = {}, {}
        for name, sample in samples.items():
            shown = name if is_collection else None
            with annotate_sample_errors(shown), annotate_sample_warnings(shown):
                queries[name] = self._open_query(sample, layer, indices=indices, gene_map=table)
                if key_added is not None:
                    check_target(queries[name], key_added, self._label_space(), options, ontology_terms)
        settings = PredictionSettings(platform_correction=platform_correction, open_set=open_set, calibrated=True)
        if key_added is not None and len(queries) > 1:
            check_all_cells(queries, batch_size)
        for name, query in queries.items():
            shown = name if is_collection else None
            with annotate_sample_errors(shown), annotate_sample_warnings(shown):
                result = self._predict_query(
                    query,
                    settings,
                    options,
                    key_added,
                    ontology_terms,
                    batch_size=batch_size,
                    enable_progress_bar=enable_progress_bar,
                )
            results[name] = result.probabilities if soft else result.labels.remove_unused_categories()
        if isinstance(adata, Mapping):
            return results
        return list(results.values()) if is_collection else results[0]

    @docs.dedent
    def evaluate(
        self,
        adata: QueryInput,
        labels_key: str,
        *,
        platform_correction: bool = True,
        open_set: bool = True,
        layer: str | None = None,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
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
        One entry for each score, over the ``n_obs`` cells whose label the model knows: those of
        :func:`hrca.metrics.annotation_scores`, ``calibration_error``, ``risk_coverage_area`` and, with a hierarchy of
        labels, ``hierarchical_f1``. And ``n_unseen``, the number of cells whose label the reference lacks; they are not
        scored.

        Raises
        ------
        %(raises_query)s
        ValueError
            If the model is not fine-tuned, there is no such column, or the model knows none of its labels.

        %(example_trained)s
        >>> int(model.evaluate(reference[:200], "bulk_labels")["n_obs"])
        200
        """
        self._check_finetuned()
        batch_size = resolve_batch_size(batch_size)
        query = self._open_query(adata, layer)
        true_labels = known_labels(query.adata.obs, labels_key, self.unlabeled_category)
        is_known = known_cells(true_labels, self.labels, labels_key)
        settings = PredictionSettings(platform_correction=platform_correction, open_set=open_set, calibrated=True)
        cells = self._predict_probabilities(query, settings, batch_size=batch_size)
        label_space = self._label_space()
        predicted, confidence, _ = most_likely_labels(label_space, cells)
        return evaluation_scores(true_labels, np.asarray(predicted), confidence, is_known, label_space)

    @within_cpu_quota()
    def _predict_query(
        self,
        query: Query,
        settings: PredictionSettings,
        options: PredictOptions,
        key_added: str | None,
        ontology_terms: Mapping[str, str] | None,
        *,
        batch_size: int,
        enable_progress_bar: bool,
    ) -> PredictionResult:
        batches = self._kept_batches(query, batch_size, enable_progress_bar=enable_progress_bar)
        cells = self._predict_probabilities(query, settings, batches=batches)
        needs_novelty = key_added is not None or options.novelty_fpr is not None
        novelty = self._novelty(query, cells, batches) if needs_novelty else None
        # the counts that it keeps are no longer needed
        del batches
        with recorded_warnings() as recorded:
            result = assemble_result(
                self._label_space(),
                cells,
                query.adata.obs_names,
                options,
                novelty=novelty,
                conformal_scores=self.conformal_scores_,
            )
        facts = self._facts(PredictionSummary.of(cells), cells.query_fit, options)
        n_rejected = 0
        if options.novelty_fpr is not None and result.novelty is not None:
            n_rejected = int(is_rejected(result.novelty, result.novel_probability, options.novelty_fpr).sum())
        sentences = recorded + self._warn(facts, options, settings, n_rejected, query.n_obs)
        if key_added is not None:
            provenance = self._provenance(query, facts, options, settings, sentences)
            provenance["labels"] = result.probabilities.columns.to_numpy(dtype=str)
            provenance["batch_size"] = batch_size
            entries = to_entries(key_added, result, provenance)
            if ontology_terms is not None:
                entries = entries.with_cellxgene_columns(cellxgene_columns(result.labels, ontology_terms))
            write_result(query, entries)
        return result

    def _novelty(self, query: Query, cells: CellProbabilities, batches: KeptBatches) -> np.ndarray | None:
        names = list(query.adata.obs_names)
        if cells.open_set_scores is not None and cells.has_clusters:
            return query_novelty(cells.open_set_scores, ranked_cells(names))
        if self.novelty_reference_ is None:
            return None
        factors = shared_genes(self.module, query.alignment.present)
        return reference_novelty(
            self.novelty_reference_,
            batches("novelty"),
            cells.depth,
            factors if cells.query_fit is None else cells.query_fit.factors,
            sample_cells(names),
        )
