"""Choose the matrix that holds the raw counts, or say why none can be chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from anndata import AnnData
from scipy import sparse

from ._count_slots import Slot, X, all_slots, find_slot, layer_names
from ._row_reader import sample_cells
from ._value_scale import Scale, describe_scale

# Layers of RNA velocity: counts, but of a part of the molecules.
PARTS = ("spliced", "unspliced", "ambiguous", "mature", "nascent")

# What people call the layer of the raw counts.
USUAL_NAMES = ("counts", "count", "raw_counts", "raw_count", "raw", "umi", "umis", "umi_counts")

# scvi-tools registers X or a layer.
NOT_IN_RAW = (
    "A reference's counts must be in X or a layer: `adata = adata.raw.to_adata()`, or, for the genes of X, "
    "`adata.layers['counts'] = adata.raw[:, adata.var_names].X.copy()`."
)


@dataclass(frozen=True)
class Look:
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

    slot: Slot
    scale: Scale
    sample: sparse.csr_array | None


@dataclass(frozen=True)
class Choice:
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

    look: Look
    looks: tuple[Look, ...]
    notes: tuple[str, ...] = ()


def choose_counts(adata: AnnData, layer: str | None, *, usual: str | None = None, with_raw: bool = True) -> Choice:
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
        return _as_said(adata, layer, with_raw)
    slots = all_slots(adata) or [find_slot(adata, None)]
    by_slot = {slot: _look(adata, slot) for slot in slots}
    looks = tuple(by_slot.values())
    first = by_slot.get(Slot("layers", usual) if usual in layer_names(adata) else Slot("X", X))
    if first is not None and _is_plain(first):
        return Choice(first, looks, tuple(_also(first, looks)))
    others = [look for look in looks if _is_plain(look) and look.slot.name.lower() not in PARTS]
    if not with_raw and [look.slot.place for look in others] == ["raw"]:
        raise ValueError(f"{_state(looks)} {NOT_IN_RAW}")
    chosen = _only(others)
    if not others and usual == X and first is not None and first.scale.is_counts and first.sample.nnz:
        odd = f"{first.slot} was named for the reference, so it is taken for counts, but it holds {first.scale.text}."
        return Choice(first, looks, (odd,))
    if chosen is None:
        _refuse(first, looks, others)
    held = f"{first.slot} holds {first.scale.text}" if first is not None else "`adata.X` is empty"
    return Choice(chosen, looks, (f"The counts were taken from {chosen.slot}: {held}.",))


def _as_said(adata: AnnData, layer: str, with_raw: bool) -> Choice:
    slot = find_slot(adata, layer)
    if not with_raw and slot.place == "raw":
        raise ValueError(f"{slot} was named, but cannot be registered. {NOT_IN_RAW}")
    look = _look(adata, slot, keep=True)
    odd = f"{look.slot} was named, so it is taken for counts, but it holds {look.scale.text}."
    return Choice(look, (look,), (odd,) if look.scale.is_odd else ())


def _look(adata: AnnData, slot: Slot, *, keep: bool = False) -> Look:
    sample = sample_cells(slot.matrix(adata))
    scale = describe_scale(sample)
    return Look(slot, scale, sample if keep or scale.is_counts else None)


def _is_plain(look: Look) -> bool:
    return look.scale.is_counts and not look.scale.is_odd


def _same(a: Look, b: Look) -> bool:
    return a.sample.shape == b.sample.shape and (a.sample != b.sample).nnz == 0


def _also(first: Look, looks: tuple[Look, ...]) -> Iterator[str]:
    for look in looks:
        if look is first or not _is_plain(look) or look.slot.name.lower() in PARTS:
            continue
        if look.slot.place == "raw":
            if look.sample.shape[1] > first.sample.shape[1]:
                yield (
                    f"{look.slot} has raw counts, too, of {look.sample.shape[1]:,} genes and not "
                    f"{first.sample.shape[1]:,}: `layer='raw'` takes them for a query."
                )
        elif not _same(look, first):
            yield f"{look.slot} holds other counts than {first.slot}, which were taken: `layer=` chooses."


def _only(others: list[Look]) -> Look | None:
    usual = [look for look in others if look.slot.name.lower() in USUAL_NAMES and look.slot.place == "layers"]
    for looks in (others, usual):
        if looks and all(look is looks[0] or _same(look, looks[0]) for look in looks):
            return looks[0]
    return None


def _state(looks: tuple[Look, ...]) -> str:
    others = "".join(f"; {look.slot} holds {look.scale.text}" for look in looks[1:])
    return f"{looks[0].slot} must hold raw counts (integers, 0 or more), but it holds {looks[0].scale.text}{others}."


def _refuse(first: Look | None, looks: tuple[Look, ...], others: list[Look]) -> NoReturn:
    if others:
        names = [str(look.slot) for look in others]
        raise ValueError(
            f"{_state(looks)} More than one place has counts, and they differ: {', '.join(names)}. "
            f"Name one: `layer={others[0].slot.name!r}`."
        )
    parts = [look.slot.name for look in looks if _is_plain(look)]
    if parts:
        raise ValueError(
            f"{_state(looks)} Layers of RNA velocity are parts of the counts. If they are all that there is: "
            f"`adata.layers['counts'] = {' + '.join(f'adata.layers[{name!r}]' for name in parts)}`."
        )
    undone = next((look for look in looks if look.scale.undo is not None), None)
    if undone is not None:
        before = "`adata = adata.raw.to_adata()`, then " if undone.slot.place == "raw" else ""
        layer = f", layer={undone.slot.name!r}" if undone.slot.place == "layers" else ""
        raise ValueError(
            f"{_state(looks)} The counts can be had back exactly: {before}"
            f"`adata.layers['counts'] = hrca.pp.recover_counts(adata{layer})`."
        )
    if first is not None and first.scale.is_odd and first.sample.nnz:
        raise ValueError(
            f"{_state(looks)} If these are the counts, say so: `layer={first.slot.name!r}`. If not, put the counts "
            "into `adata.layers['counts']`, from the file that they came in."
        )
    raise ValueError(f"{_state(looks)} {_way_out(first)}")


def _way_out(first: Look | None) -> str:
    if first is not None and first.scale.text == "NaN":
        return (
            "NaN comes of joining samples with different genes: `anndata.concat(..., join='inner')` keeps those that "
            "all have. If it means no counts: `adata.X = np.nan_to_num(adata.X)`, or of its `data` if sparse."
        )
    if first is not None and first.scale.is_nearly_counts:
        return (
            f"If they are counts but for that, round them: `adata.layers['counts'] = np.rint({str(first.slot)[1:-1]})`."
        )
    return (
        "Put the counts into a layer, from the file that they came in: `adata.layers['counts'] = ...`, before "
        "normalising."
    )
