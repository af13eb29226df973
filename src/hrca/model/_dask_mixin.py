"""Prediction on the workers of a dask cluster."""

import shutil
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData
from mudata import MuData

from hrca._docs import docs
from hrca.annotation._options import PredictOptions
from hrca.annotation._write import check_key, check_labels
from hrca.annotation._write_blocks import finish_store
from hrca.data._dask_query import check_is_dask, checked_cells, open_dask_slots
from hrca.data._gene_map import GeneMapInput, read_gene_map
from hrca.data._name_hash import uniform_from_names
from hrca.data._query import Query, validated_query
from hrca.data._sources import open_query_input
from hrca.prediction._probabilities import PredictionSettings, sample_cells
from hrca.train._config import resolve_batch_size
from hrca.uncertainty._novelty import rank_threshold

from ._base import PREDICTION_BATCH_SIZE
from ._dask_run import ClusterRun, find_client
from ._dask_tasks import Annotator
from ._prediction_steps import PredictionSteps

if TYPE_CHECKING:
    from dask.distributed import Client


class DaskMixin(PredictionSteps):
    """The method of :class:`hrca.HRCA` that predicts on a cluster."""

    @docs.dedent
    def predict_dask(
        self,
        adata: AnnData | MuData,
        out: str | Path,
        client: "Client | None" = None,
        *,
        key_added: str = "hrca",
        coverage: float | None = None,
        class_conditional: bool = False,
        level: int | None = None,
        min_confidence: float = 0.0,
        novelty_fpr: float | None = None,
        platform_correction: bool = True,
        open_set: bool = True,
        layer: str | None = None,
        gene_map: GeneMapInput | None = None,
        batch_size: int | None = PREDICTION_BATCH_SIZE,
    ) -> Path:
        """Label the cells of a dask array on a dask cluster, where its chunks are.

        The labels are those of :meth:`predict`. The workers read each chunk at most twice, and write the results.
        Except for at most 1,000 cells that are checked, neither counts nor results pass through this process.

        Parameters
        ----------
        adata
            The query: an AnnData, a MuData or a SpatialData with one table, whose raw counts are a dask array in chunks
            of whole rows, of any genes in any order. ``anndata.experimental.read_lazy`` opens files in this way.
        out
            Folder for the results, which does not exist: a zarr store that ``anndata.read_zarr`` reads. It appears
            when all cells are labelled. Client and workers must see it under the same path.
        client
            Client of the cluster. None: the active one.
        key_added
            Name of the results. With "hrca", the store has the entries that :meth:`predict` writes. Those of ``obsm``
            are arrays, and ``uns["hrca"]`` has the names of their columns: ``labels`` and ``set_labels``.
        coverage
            Probability with which the prediction set of a cell contains its true label, see :meth:`predict`. None: no
            sets.
        class_conditional
            If True, choose the sets so that `coverage` nearly holds for each label.
        level
            Level of the hierarchy of labels, 0 for the coarsest, see :meth:`predict`. None: the labels.
        min_confidence
            Minimum probability of a label, 0 to 1. A less probable label is replaced by its finest ancestor that
            reaches it, or else by the unlabelled category.
        novelty_fpr
            False positive rate of novelty detection, in (0, 1), see :meth:`predict`. None: no cell is rejected.
        %(platform_correction)s
        %(open_set)s
        %(layer)s Naming it spares the workers the other matrices.
        %(gene_map)s
        %(prediction_batch_size)s

        Returns
        -------
        Path of the results.

        Raises
        ------
        ImportError
            If dask is not installed (extra ``dask``).
        FileExistsError
            If `out` exists.
        FileNotFoundError
            If the folder of `out` does not exist, or a worker does not see it.
        ValueError
            If no client is active; the counts are no dask array; a chunk lacks genes or has an unknown size; there are
            no cells; or as for :meth:`predict`.
        TypeError
            If `adata` or `client` has another type.

        Warns
        -----
        UserWarning
            As for :meth:`predict`.

        %(example_trained)s
        >>> import anndata, dask.array, dask.distributed, tempfile
        >>> counts = dask.array.from_array(reference.X.toarray(), chunks=(300, -1))
        >>> query = anndata.AnnData(counts, obs=reference.obs[[]], var=reference.var)
        >>> folder = tempfile.TemporaryDirectory()
        >>> with dask.distributed.Client(processes=False, dashboard_address=":0") as client:
        ...     out = model.predict_dask(query, f"{folder.name}/labels.zarr", client)
        >>> anndata.read_zarr(out).obs["hrca_confidence"].shape
        (700,)
        >>> folder.cleanup()
        """
        options = PredictOptions(level, min_confidence, novelty_fpr, coverage, class_conditional)
        self._check_options(options, None, writes_results=True)
        batch_size = resolve_batch_size(batch_size)
        run, target = ClusterRun(find_client(client)), _check_out(out)
        cells = self._open_dask(adata, key_added)
        settings = PredictionSettings(platform_correction=platform_correction, open_set=open_set, calibrated=True)
        validation = self._validation_settings(None if gene_map is None else read_gene_map(gene_map))
        slots = open_dask_slots(cells, layer, self._target_genes(), validation["gene_map"])
        sampled = sample_cells(list(cells.obs_names))
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
        try:
            checked, samples = run.sample(slots, np.sort(sampled))
            query = validated_query(checked_cells(cells, checked), target, layer, self._target_genes(), **validation)
            check_is_dask(query.slot, cells)
            slot = next(slot for slot in slots if slot.slot == query.slot)
            annotator = self._annotator(query, options, settings, key_added, batch_size)
            order, store = np.argsort(np.argsort(sampled)), folder / target.name
            facts, n_rejected = run.annotate(annotator, slot, samples[slot.slot], order, cells.obs_names, store)
            sentences = self._warn(facts, options, settings, n_rejected, cells.n_obs)
            template = annotator.template(has_clusters=facts.has_clusters)
            provenance = self._provenance(query, facts, options, settings, sentences)
            provenance["batch_size"] = annotator.batch_size
            finish_store(store, {key_added: {**template.uns[key_added], **provenance}})
            store.rename(target)
        finally:
            run.cancel()
            shutil.rmtree(folder, ignore_errors=True)
        return target

    def _open_dask(self, adata: AnnData | MuData, key_added: str) -> AnnData:
        if isinstance(adata, str | Path):
            raise TypeError(
                f"The query must be an AnnData whose counts are a dask array, got the path {str(adata)!r}. "
                "`anndata.experimental.read_lazy(path)` opens it in this way."
            )
        cells, _ = open_query_input(adata, self._modality())
        if not isinstance(cells, AnnData):
            raise TypeError(f"The query must be an AnnData, a MuData or a SpatialData, got a {type(adata).__name__}.")
        if not cells.n_obs:
            raise ValueError("The query must have cells, but it has none.")
        check_key(key_added, None)
        check_labels([*self._label_space().tree.nodes, self.unlabeled_category])
        return cells

    def _annotator(
        self, query: Query, options: PredictOptions, settings: PredictionSettings, key_added: str, batch_size: int
    ) -> Annotator:
        return Annotator(
            module=deepcopy(self.module).cpu(),
            label_space=self._label_space(),
            gene_names=self.gene_names,
            novelty_reference=self.novelty_reference_,
            conformal_scores=None if options.coverage is None else self.conformal_scores_,
            options=options,
            settings=settings,
            key_added=key_added,
            batch_size=batch_size,
            alignment=query.alignment,
            source=str(query.slot),
            rank_threshold=rank_threshold(uniform_from_names(query.adata.obs_names)),
        )


def _check_out(out: str | Path) -> Path:
    path = Path(out).expanduser().resolve()
    if path.exists():
        raise FileExistsError(
            f"`out` must not exist, but {str(path)!r} does. Give another path, or delete it: nothing is added to "
            "earlier results."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of `out` must exist, but there is none at {str(path.parent)!r}.")
    return path
