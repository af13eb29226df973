"""Choose the matrix that holds the raw counts, or say why none can be chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from anndata import AnnData
from scipy import sparse

from ._count_slots import CountSlot, X, all_slots, find_slot, layer_names
from ._row_reader import sample_cells
from ._value_scale import ValueScale, classify_values

# Layers of RNA velocity: counts, but of a part of the molecules.
VELOCITY_LAYER_NAMES = ("spliced", "unspliced", "ambiguous", "mature", "nascent")

# What people call the layer of the raw counts.
COUNTS_LAYER_NAMES = ("counts", "count", "raw_counts", "raw_count", "raw", "umi", "umis", "umi_counts")

# scvi-tools registers X or a layer.
RAW_REMEDY = (
    "A reference's counts must be in X or a layer: `adata = adata.raw.to_adata()`, or, for the genes of X, "
    "`adata.layers['counts'] = adata.raw[:, adata.var_names].X.copy()`."
)


@dataclass(frozen=True)
class MatrixSummary:
    """What some cells of a matrix look like.

    Attributes
    ----------
    slot
        Where it is.
    scale
        What it holds.
    sample
        The cells, where they are counts or the user named them; else None, not to keep them.
    """

    slot: CountSlot
    scale: ValueScale
    sample: sparse.csr_array | None


@dataclass(frozen=True)
class CountSelection:
    """The matrix that was chosen.

    Attributes
    ----------
    look
        What it is.
    looks
        What was looked at, itself among them.
    notes
        What the user should know of the choice, in sentences.
    """

    look: MatrixSummary
    evaluations: tuple[MatrixSummary, ...]
    notes: tuple[str, ...] = ()


def select_counts(
    adata: AnnData, layer: str | None, *, preferred_layer: str | None = None, with_raw: bool = True
) -> CountSelection:
    """Choose the matrix of raw counts.

    Parameters
    ----------
    adata
        The cells.
    layer
        What the user said, which holds: a layer, "X" or "raw"; None: nothing.
    usual
        The layer to look at first, if there is one of that name; else X. "X": X was named for the reference, so that
        the query's is taken, too, if it holds integers, however odd, and no other place has counts.
    with_raw
        Whether raw may be chosen.

    Raises
    ------
    ValueError
        If there is no such layer, raw is named and may not be chosen, or no matrix, or more than one, looks like raw
        counts.
    """
    if layer is not None:
        return _use_named_slot(adata, layer, with_raw)
    slots = all_slots(adata) or [find_slot(adata, None)]
    by_slot = {slot: _look(adata, slot) for slot in slots}
    evaluations = tuple(by_slot.values())
    first = by_slot.get(
        CountSlot("layers", preferred_layer) if preferred_layer in layer_names(adata) else CountSlot("X", X)
    )
    if first is not None and _is_raw_counts(first):
        return CountSelection(first, evaluations, tuple(_note_alternatives(first, evaluations)))
    others = [
        look for look in evaluations if _is_raw_counts(look) and look.slot.name.lower() not in VELOCITY_LAYER_NAMES
    ]
    if not with_raw and [look.slot.place for look in others] == ["raw"]:
        raise ValueError(f"{_describe(evaluations)} {RAW_REMEDY}")
    chosen = _unique_candidate(others)
    if not others and preferred_layer == X and first is not None and first.scale.is_counts and first.sample.nnz:
        odd = f"{first.slot} was named for the reference, so it is taken for counts, but it holds {first.scale.text}."
        return CountSelection(first, evaluations, (odd,))
    if chosen is None:
        _raise_no_counts(first, evaluations, others)
    held = f"{first.slot} holds {first.scale.text}" if first is not None else "`adata.X` is empty"
    return CountSelection(chosen, evaluations, (f"The counts were taken from {chosen.slot}: {held}.",))


def _use_named_slot(adata: AnnData, layer: str, with_raw: bool) -> CountSelection:
    slot = find_slot(adata, layer)
    if not with_raw and slot.place == "raw":
        raise ValueError(f"{slot} was named, but cannot be registered. {RAW_REMEDY}")
    look = _look(adata, slot, keep=True)
    odd = f"{look.slot} was named, so it is taken for counts, but it holds {look.scale.text}."
    return CountSelection(look, (look,), (odd,) if look.scale.is_suspicious else ())


def _look(adata: AnnData, slot: CountSlot, *, keep: bool = False) -> MatrixSummary:
    sample = sample_cells(slot.matrix(adata))
    scale = classify_values(sample)
    return MatrixSummary(slot, scale, sample if keep or scale.is_counts else None)


def _is_raw_counts(look: MatrixSummary) -> bool:
    return look.scale.is_counts and not look.scale.is_suspicious


def _same(a: MatrixSummary, b: MatrixSummary) -> bool:
    return a.sample.shape == b.sample.shape and (a.sample != b.sample).nnz == 0


def _note_alternatives(first: MatrixSummary, evaluations: tuple[MatrixSummary, ...]) -> Iterator[str]:
    for look in evaluations:
        if look is first or not _is_raw_counts(look) or look.slot.name.lower() in VELOCITY_LAYER_NAMES:
            continue
        if look.slot.place == "raw":
            if look.sample.shape[1] > first.sample.shape[1]:
                yield (
                    f"{look.slot} has raw counts, too, of {look.sample.shape[1]:,} genes and not "
                    f"{first.sample.shape[1]:,}: `layer='raw'` takes them for a query."
                )
        elif not _same(look, first):
            yield f"{look.slot} holds other counts than {first.slot}, which were taken: `layer=` chooses."


def _unique_candidate(others: list[MatrixSummary]) -> MatrixSummary | None:
    preferred_layer = [
        look for look in others if look.slot.name.lower() in COUNTS_LAYER_NAMES and look.slot.place == "layers"
    ]
    for evaluations in (others, preferred_layer):
        if evaluations and all(look is evaluations[0] or _same(look, evaluations[0]) for look in evaluations):
            return evaluations[0]
    return None


def _describe(evaluations: tuple[MatrixSummary, ...]) -> str:
    others = "".join(f"; {look.slot} holds {look.scale.text}" for look in evaluations[1:])
    return f"{evaluations[0].slot} must hold raw counts (integers, 0 or more), but it holds {evaluations[0].scale.text}{others}."


def _raise_no_counts(
    first: MatrixSummary | None, evaluations: tuple[MatrixSummary, ...], others: list[MatrixSummary]
) -> NoReturn:
    if others:
        names = [str(look.slot) for look in others]
        raise ValueError(
            f"{_describe(evaluations)} More than one place has counts, and they differ: {', '.join(names)}. "
            f"Name one: `layer={others[0].slot.name!r}`."
        )
    parts = [look.slot.name for look in evaluations if _is_raw_counts(look)]
    if parts:
        raise ValueError(
            f"{_describe(evaluations)} Layers of RNA velocity are parts of the counts. If they are all that there is: "
            f"`adata.layers['counts'] = {' + '.join(f'adata.layers[{name!r}]' for name in parts)}`."
        )
    undone = next((look for look in evaluations if look.scale.inverse is not None), None)
    if undone is not None:
        before = "`adata = adata.raw.to_adata()`, then " if undone.slot.place == "raw" else ""
        layer = f", layer={undone.slot.name!r}" if undone.slot.place == "layers" else ""
        raise ValueError(
            f"{_describe(evaluations)} The counts can be had back exactly: {before}"
            f"`adata.layers['counts'] = hrca.pp.recover_counts(adata{layer})`."
        )
    if first is not None and first.scale.is_suspicious and first.sample.nnz:
        raise ValueError(
            f"{_describe(evaluations)} If these are the counts, say so: `layer={first.slot.name!r}`. If not, put the counts "
            "into `adata.layers['counts']`, from the file that they came in."
        )
    raise ValueError(f"{_describe(evaluations)} {_suggest_fix(first)}")


def _suggest_fix(first: MatrixSummary | None) -> str:
    if first is not None and first.scale.text == "NaN":
        return (
            "NaN comes of joining samples with different genes: `anndata.concat(..., join='inner')` keeps those that "
            "all have. If it means no counts: `adata.X = np.nan_to_num(adata.X)`, or of its `data` if sparse."
        )
    if first is not None and first.scale.is_mostly_integer:
        return (
            f"If they are counts but for that, round them: `adata.layers['counts'] = np.rint({str(first.slot)[1:-1]})`."
        )
    return (
        "Put the counts into a layer, from the file that they came in: `adata.layers['counts'] = ...`, before "
        "normalising."
    )
