"""Run the steps of a prediction on the workers of a dask cluster.

Each chunk of counts is read at most twice: for the sample that the query is fitted to, and for the scores of its cells.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hrca.annotation._prediction_warnings import PredictionFacts
from hrca.annotation._write_blocks import create_store
from hrca.data._count_slots import CountSlot
from hrca.data._dask_query import DaskSlot, chunk_positions, take_rows
from hrca.typing import CountMatrix

from ._dask_tasks import Annotator, divide_into_blocks, write_block_tables

if TYPE_CHECKING:
    from dask.distributed import Client, Future

# What is taken of a chunk for the validation and for the fit: attributes of ChunkSample.
PARTS = ("checked", "fitted")


def find_client(client: "Client | None") -> "Client":
    """Return the client of a cluster: the given one, or the one that is active.

    Raises
    ------
    ImportError
        If dask is not installed.
    ValueError
        If there is no client.
    TypeError
        If `client` is something else.
    """
    try:
        from dask.distributed import Client, default_client
    except ImportError as error:
        raise ImportError('Prediction on a cluster needs dask: `pip install "hrca[dask]"`.') from error
    if client is None:
        try:
            return default_client()
        except ValueError as error:
            raise ValueError(
                "Prediction on a cluster needs a client, but none is active. `dask.distributed.Client(address)` makes "
                "one of a cluster, `Client()` one of a new cluster on this machine."
            ) from error
    if not isinstance(client, Client):
        raise TypeError(f"`client` must be a `dask.distributed.Client` or None, got a {type(client).__name__}.")
    return client


class ClusterRun:
    """Tasks of one prediction on a cluster, which are cancelled if it fails.

    Parameters
    ----------
    client
        Client of the cluster.
    """

    def __init__(self, client: "Client"):
        self._client = client
        self._futures: list[Future] = []

    def cancel(self) -> None:
        """Cancel all tasks that have not been computed."""
        self._client.cancel(self._futures)

    def sample(
        self, slots: Sequence[DaskSlot], fitted_rows: np.ndarray
    ) -> tuple[dict[CountSlot, tuple[np.ndarray, list[CountMatrix]]], dict[CountSlot, "list[Future]"]]:
        """Read the cells that the validation and the fit use from all dask arrays that may hold the counts.

        Parameters
        ----------
        slots
            The arrays.
        fitted_rows
            Rows for the fit, ascending.

        Returns
        -------
        The rows for the validation and their values, in parts; and the counts for the fit, in parts, which stay on the
        workers. Both by slot.
        """
        from dask import delayed

        tasks: dict[CountSlot, list] = {}
        for slot in slots:
            alignment = delayed(slot.alignment, traverse=False)
            positions = [chunk_positions(rows, slot.bounds) for rows in (slot.checked_rows, fitted_rows)]
            tasks[slot.slot] = [
                delayed(take_rows)(chunk, checked, fitted, alignment)
                for chunk, checked, fitted in zip(_chunks(slot), *positions, strict=True)
                if len(checked) or len(fitted)
            ]
        # one graph for all: another one would read the chunks again
        everything = [task for of_slot in tasks.values() for task in of_slot]
        futures = iter(self._compute([delayed(getattr)(task, name) for name in PARTS for task in everything]))
        checked, fitted = ({slot: [next(futures) for _ in of_slot] for slot, of_slot in tasks.items()} for _ in PARTS)
        values = {slot: self._client.gather(parts) for slot, parts in checked.items()}
        return {s.slot: (s.checked_rows, values[s.slot]) for s in slots}, fitted

    def annotate(
        self,
        annotator: Annotator,
        slot: DaskSlot,
        samples: "list[Future]",
        order: np.ndarray,
        obs_names: pd.Index,
        store: Path,
    ) -> tuple[PredictionFacts, int]:
        """Annotate all cells, and let the workers write the results.

        Parameters
        ----------
        annotator
            The model and the arguments.
        slot
            The counts.
        samples, order
            See :meth:`Annotator.fit`.
        obs_names
            Names of the cells.
        store
            Path of the results, a folder that does not exist.

        Returns
        -------
        What is to be reported, and the number of rejected cells.
        """
        from dask import delayed

        shared = self._share(annotator)
        fitted = self._submit(Annotator.fit, shared, samples, order)
        has_clusters = self._submit(getattr, fitted, "has_clusters").result()
        n_block, blocks = divide_into_blocks(slot.bounds)
        create_store(store, annotator.template(has_clusters=has_clusters), obs_names, n_block)
        scored = [
            delayed(Annotator.score)(shared, chunk, fitted, store, slice(int(start), int(stop)))
            for chunk, start, stop in zip(_chunks(slot), slot.bounds[:-1], slot.bounds[1:], strict=True)
        ]
        tables = [delayed(write_block_tables)(store, block, [scored[i] for i in block.chunks]) for block in blocks]
        attributes = [delayed(getattr)(chunk, name) for name in ("columns", "summary") for chunk in scored]
        futures = self._compute([*attributes, *tables])
        columns, summaries = futures[: len(scored)], futures[len(scored) : 2 * len(scored)]
        summarized = self._submit(Annotator.summarize, shared, fitted, summaries)
        n_rejected = [
            self._submit(Annotator.write_columns, shared, store, block, [columns[i] for i in block.chunks], summarized)
            for block in blocks
        ]
        self._client.gather(futures[2 * len(scored) :])
        return self._submit(getattr, summarized, "facts").result(), sum(self._client.gather(n_rejected))

    def _compute(self, tasks: list) -> "list[Future]":
        futures = self._client.compute(tasks)
        self._futures += futures
        return futures

    def _share(self, annotator: Annotator) -> "Future":
        import dask

        # Submitted as a task and not scattered: dask reduces scattered data to one copy within seconds, and cannot
        # compute them again if that worker is lost. It warns of large arguments; here, one is meant.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PiB"}):
            return self._submit(Annotator.itself, annotator)

    def _submit(self, function: Any, *args: Any) -> "Future":
        # a task with the same arguments may have written into another store
        future = self._client.submit(function, *args, pure=False)
        self._futures.append(future)
        return future


def _chunks(slot: DaskSlot) -> list:
    """Return the chunks of an array as delayed objects."""
    return list(slot.matrix.to_delayed().ravel())
