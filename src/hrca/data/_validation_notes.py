"""Notes of a validation: unusual cells and features that are accepted."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import sparse

from hrca._messages import agreeing, counted, counted_among

from ._alignment import GeneAlignment
from ._features import flag_non_gene_features, gene_type, is_gene_feature, type_column
from ._value_scale import MIN_DETECTED_GENES


def note_cells(cell_names: pd.Index, sample: sparse.csr_array, *, is_reference: bool) -> Iterator[str]:
    """Note cells with the same name, without counts, or with the same counts.

    Parameters
    ----------
    cell_names
        Names of all cells, shape (n_obs,).
    sample
        Counts of some cells, shape (n_sampled_cells, n_vars).
    is_reference
        Whether the cells are a reference.

    Yields
    ------
    Sentences for the user.
    """
    if not cell_names.is_unique:
        remedy = (
            "`adata.obs_names_make_unique()` makes them so" if is_reference else "labels are in the order of the cells"
        )
        yield f"`adata.obs_names` are not unique; {remedy}."
    n_empty, n_repeated = int((np.diff(sample.indptr) == 0).sum()), count_repeated(sample)
    if n_empty:
        empty = counted_among(n_empty, sample.shape[0], "sampled cell", ("has", "have"))
        if is_reference:
            yield f"{empty} no counts: leave such cells out."
        else:
            yield f"{empty} no counts and {agreeing(n_empty, 'gets', 'get')} no label."
    if n_repeated:
        repeated = counted_among(n_repeated, sample.shape[0], "sampled cell", ("has", "have"))
        yield f"{repeated} exactly the counts of another cell."


def note_features(var: pd.DataFrame, alignment: GeneAlignment | None) -> Iterator[str]:
    """Note features that are not genes.

    Parameters
    ----------
    var
        Table of the features.
    alignment
        Alignment to the model's genes; None for a reference, whose features would all be learned.

    Yields
    ------
    Sentences for the user.
    """
    is_gene = is_gene_feature(var)
    if not is_gene.all():
        column = type_column(var) or ""
        genes_alone = f"`adata = adata[:, adata.var[{column!r}] == {gene_type(var, column)!r}].copy()`"
        n_others = int((~is_gene).sum())
        effect = (
            f"{agreeing(n_others, 'is', 'are')} ignored"
            if alignment
            else f"would be learned: {genes_alone} drops such features"
        )
        others = f"{counted(n_others, 'feature', ('is', 'are'))} not {agreeing(n_others, 'a gene', 'genes')}"
        yield f"{others} by type, and {effect}."
    is_used = np.zeros(len(var), dtype=bool) if alignment is None else alignment.used(len(var))
    for kind, names in flag_non_gene_features(var.index[~is_used & is_gene].astype(str)).items():
        if names:
            effect = (
                f"{agreeing(len(names), 'is', 'are')} ignored"
                if alignment
                else "would be learned: leave such names out"
            )
            yield f"{counted(len(names), 'name')} of {kind}, such as {names[0]!r}, {effect}."


def count_repeated(sample: sparse.csr_array) -> int:
    """Count the well-detected cells that have exactly the counts of an earlier one.

    Parameters
    ----------
    sample
        Counts of some cells, shape (n_sampled_cells, n_vars), with sorted indices.
    """
    # cells with few counts can be equal by chance
    well_detected = np.flatnonzero(np.diff(sample.indptr) >= MIN_DETECTED_GENES)
    bounds = [slice(sample.indptr[row], sample.indptr[row + 1]) for row in well_detected]
    cells = {sample.indices[cell].tobytes() + sample.data[cell].tobytes() for cell in bounds}
    return len(well_detected) - len(cells)
