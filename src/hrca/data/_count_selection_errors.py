"""Errors of count selection: why no matrix was selected, and the remedy."""

from collections.abc import Sequence

from ._count_slots import RAW_REMEDY
from ._select_counts import MatrixSummary, count_candidates, preferred_matrix


def explain_no_counts(
    summaries: Sequence[MatrixSummary], preferred_layer: str | None = None, *, with_raw: bool = True
) -> str:
    """Describe each matrix, the reason that none was selected, and the remedy.

    Parameters
    ----------
    summaries
        Summaries of all matrices, from which :func:`hrca.data._select_counts.select_counts` selected none.
    preferred_layer
        The layer that was preferred.
    with_raw
        Whether raw could be selected.
    """
    return f"{_describe(summaries)} {_suggest_fix(summaries, preferred_layer, with_raw)}"


def _describe(summaries: Sequence[MatrixSummary]) -> str:
    """Describe the content of each matrix."""
    first, *others = summaries
    contents = "".join(f"; {summary.slot} holds {summary.scale.text}" for summary in others)
    return f"{first.slot} must hold raw counts (integers, 0 or more), but it holds {first.scale.text}{contents}."


def _suggest_fix(summaries: Sequence[MatrixSummary], preferred_layer: str | None, with_raw: bool) -> str:
    """Suggest the remedy for the most certain reason."""
    candidates = count_candidates(summaries)
    if not with_raw and [summary.slot.place for summary in candidates] == ["raw"]:
        return RAW_REMEDY
    if candidates:
        slots = ", ".join(str(summary.slot) for summary in candidates)
        name = candidates[0].slot.name
        return f"More than one matrix has counts, and they differ: {slots}. Name one: `layer={name!r}`."
    velocity = [f"adata.layers[{summary.slot.name!r}]" for summary in summaries if summary.is_raw_counts]
    if velocity:
        return (
            "Layers of RNA velocity are parts of the counts. If there are no others: "
            f"`adata.layers['counts'] = {' + '.join(velocity)}`."
        )
    invertible = next((summary for summary in summaries if summary.scale.inverse is not None), None)
    if invertible is not None:
        return _suggest_recovery(invertible)
    preferred = preferred_matrix(summaries, preferred_layer)
    if preferred is not None and preferred.scale.is_suspicious and preferred.sample.nnz:
        return (
            f"If these are the counts, name them: `layer={preferred.slot.name!r}`. If not, put the counts into "
            "`adata.layers['counts']`, from the file that they came in."
        )
    return _suggest_source(preferred or summaries[0])


def _suggest_recovery(summary: MatrixSummary) -> str:
    """Suggest to recover the counts from transformed values."""
    before = "`adata = adata.raw.to_adata()`, then " if summary.slot.place == "raw" else ""
    layer = f", layer={summary.slot.name!r}" if summary.slot.place == "layers" else ""
    return (
        f"The counts can be recovered exactly: {before}`adata.layers['counts'] = hrca.pp.recover_counts(adata{layer})`."
    )


def _suggest_source(preferred: MatrixSummary) -> str:
    """Suggest to mend the values, or to take the counts from the file that they came in."""
    name = str(preferred.slot)[1:-1]
    if preferred.scale.is_text:
        return f"If these are the counts, make numbers of them: `{name} = {name}.astype(np.float32)`."
    if preferred.scale.text == "NaN":
        return (
            "NaN results from joining samples with different genes: `anndata.concat(..., join='inner')` keeps the "
            "genes that all have. If NaN means no counts: "
            f"`{name} = np.nan_to_num({name})`, or of its `data` if sparse."
        )
    if preferred.scale.is_mostly_integer:
        return f"If they are counts except for these fractions, round them: `adata.layers['counts'] = np.rint({name})`."
    return (
        "Put the counts into a layer, from the file that they came in: `adata.layers['counts'] = ...`, before "
        "normalising."
    )
