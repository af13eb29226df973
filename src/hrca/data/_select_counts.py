"""Select the matrix that holds the raw counts, from a summary of each matrix."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import sparse

from hrca.typing import StoredMatrix

from ._count_checks import describe_non_numbers
from ._count_slots import CountSlot, X
from ._row_reader import sample_cells
from ._value_scale import ValueScale, classify_values

# Layers of RNA velocity hold counts of some of the molecules.
VELOCITY_LAYER_NAMES = ("spliced", "unspliced", "ambiguous", "mature", "nascent")

# Usual names of a layer with raw counts.
COUNTS_LAYER_NAMES = ("counts", "count", "raw_counts", "raw_count", "raw", "umi", "umis", "umi_counts")


@dataclass(frozen=True)
class MatrixSummary:
    """A sample of the cells of a matrix, and the scale of their values.

    Attributes
    ----------
    slot
        Slot of the matrix.
    scale
        Scale of its values.
    sample
        Some cells, shape (n_sampled_cells, n_vars); no cells if the matrix cannot be selected, to free the memory.
    """

    slot: CountSlot
    scale: ValueScale
    sample: sparse.csr_array

    @property
    def is_raw_counts(self) -> bool:
        """True if the values look like raw counts."""
        return self.scale.is_counts and not self.scale.is_suspicious

    @property
    def is_velocity(self) -> bool:
        """True if the name is that of a layer for RNA velocity."""
        return self.slot.name.lower() in VELOCITY_LAYER_NAMES


@dataclass(frozen=True)
class CountSelection:
    """The matrix that was selected.

    Attributes
    ----------
    summary
        Summary of the selected matrix.
    summaries
        Summaries of all matrices that were read, the selected one included.
    notes
        Sentences for the user about the selection.
    """

    summary: MatrixSummary
    summaries: tuple[MatrixSummary, ...]
    notes: tuple[str, ...] = ()


def summarize_matrix(slot: CountSlot, matrix: StoredMatrix, *, is_named: bool) -> MatrixSummary:
    """Classify the values of some cells of a matrix, and keep these cells if the matrix can be selected.

    Parameters
    ----------
    slot
        Slot of the matrix.
    matrix
        The matrix, shape (n_obs, n_vars).
    is_named
        Whether the user named the slot, so that it is selected in any case.
    """
    text = describe_non_numbers(matrix)
    if text is not None:
        return MatrixSummary(slot, ValueScale(text, is_text=True), sparse.csr_array((0, matrix.shape[1])))
    sample = sample_cells(matrix)
    scale = classify_values(sample)
    return MatrixSummary(slot, scale, sample if is_named or scale.is_counts else sample[:0])


def select_named(summary: MatrixSummary) -> CountSelection | None:
    """Select the matrix that the user named, with a note if it does not look like raw counts.

    Parameters
    ----------
    summary
        Its summary.

    Returns
    -------
    The selection; None if the matrix does not hold numbers.
    """
    if summary.scale.is_text:
        return None
    note = f"{summary.slot} was named, so it is taken for counts, but it holds {summary.scale.text}."
    return CountSelection(summary, (summary,), (note,) if summary.scale.is_suspicious else ())


def select_counts(
    summaries: tuple[MatrixSummary, ...], preferred_layer: str | None = None, *, with_raw: bool = True
) -> CountSelection | None:
    """Select the matrix of raw counts.

    The preferred matrix is selected if it looks like raw counts; else another one, if it alone does.

    Parameters
    ----------
    summaries
        Summaries of all matrices.
    preferred_layer
        Layer to prefer if there is one of that name; else X. "X": the reference's X was named, so that X is selected
        also if it holds integers that do not look like counts, and no other matrix holds counts.
    with_raw
        Whether raw can be selected.

    Returns
    -------
    The selection; None if no matrix, or more than one, looks like raw counts.
    """
    preferred = preferred_matrix(summaries, preferred_layer)
    if preferred is not None and preferred.is_raw_counts:
        return CountSelection(preferred, summaries, tuple(_note_alternatives(preferred, summaries)))
    candidates = count_candidates(summaries)
    selected = _unique_candidate(candidates)
    if selected is not None and (with_raw or selected.slot.place != "raw"):
        content = f"{preferred.slot} holds {preferred.scale.text}" if preferred is not None else "`adata.X` is empty"
        return CountSelection(selected, summaries, (f"The counts were taken from {selected.slot}: {content}.",))
    if preferred is None or candidates or preferred_layer != X:
        return None
    if not preferred.scale.is_counts or preferred.sample.nnz == 0:
        return None
    note = (
        f"{preferred.slot} was named for the reference, so it is taken for counts, but it holds {preferred.scale.text}."
    )
    return CountSelection(preferred, summaries, (note,))


def preferred_matrix(summaries: Sequence[MatrixSummary], preferred_layer: str | None) -> MatrixSummary | None:
    """Return the summary of the preferred layer, else that of X; None if both are missing."""
    by_slot = {summary.slot: summary for summary in summaries}
    x = by_slot.get(CountSlot("X", X))
    return x if preferred_layer is None else by_slot.get(CountSlot("layers", preferred_layer), x)


def count_candidates(summaries: Sequence[MatrixSummary]) -> list[MatrixSummary]:
    """List the matrices that look like raw counts of all molecules."""
    return [summary for summary in summaries if summary.is_raw_counts and not summary.is_velocity]


def _unique_candidate(candidates: list[MatrixSummary]) -> MatrixSummary | None:
    """Return the first candidate if all are equal, or if all layers with a common name are; else None."""
    with_common_name = [
        summary
        for summary in candidates
        if summary.slot.name.lower() in COUNTS_LAYER_NAMES and summary.slot.place == "layers"
    ]
    for group in (candidates, with_common_name):
        if group and all(summary is group[0] or _is_equal(summary, group[0]) for summary in group):
            return group[0]
    return None


def _is_equal(a: MatrixSummary, b: MatrixSummary) -> bool:
    """Return True if the samples of two matrices are equal."""
    return a.sample.shape == b.sample.shape and (a.sample != b.sample).nnz == 0


def _note_alternatives(selected: MatrixSummary, summaries: tuple[MatrixSummary, ...]) -> Iterator[str]:
    """Note other matrices that hold raw counts."""
    for summary in count_candidates(summaries):
        if summary is selected:
            continue
        if summary.slot.place != "raw":
            if not _is_equal(summary, selected):
                yield f"{summary.slot} holds other counts than {selected.slot}, which were taken: `layer=` chooses."
        elif summary.sample.shape[1] > selected.sample.shape[1]:
            yield (
                f"{summary.slot} also has raw counts, of {summary.sample.shape[1]:,} genes and not "
                f"{selected.sample.shape[1]:,}: `layer='raw'` takes them for a query."
            )
