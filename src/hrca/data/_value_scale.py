"""Classify the values of a matrix: raw counts, or the transformation that was applied to them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ._count_checks import MAX_COUNT, describe_values
from ._inverses import INVERSES, invert_to_counts, is_invertible, is_near_integer

# A cell with this many detected genes has a count of 1 among its counts, and some of such cells have a 2. This holds
# for gene panels also (real cells: tests/data/test_value_scale.py).
MIN_DETECTED_GENES = 20

# Rules about typical cells need this many cells.
MIN_SAMPLED_CELLS = 50

# Sums of normalised cells differ by rounding only; sums of thinned or filtered cells differ by far more.
SUM_RTOL = 1e-3

# Maximum mean of a centred gene in a sample of the cells that it was centred over; its standard deviation is 1.
MAX_ABS_CENTRED_MEAN = 0.2

# Maximum absolute mean of a cell's centred log ratios (CLR): their mean is 0, except for rounding.
MAX_ABS_CLR_MEAN = 0.002

# Only scaled, imputed or denoised values have a larger fraction of entries other than 0.
MIN_DENSE_FRACTION = 0.8

# Values with a larger fraction of integers are counts, some of which were changed.
MIN_INTEGER_FRACTION = 0.5

# A smaller panel of genes is named in the description, since values may have been normalised within it.
MIN_GENES_WITHOUT_MENTION = 2_000


@dataclass(frozen=True)
class ValueScale:
    """The scale of a matrix's values.

    Attributes
    ----------
    text
        Description, to complete "it holds".
    is_counts
        Whether all values are integers, 0 or more.
    is_suspicious
        Whether these integers do not look like raw counts.
    is_mostly_integer
        Whether most values are integers, 0 or more, and the others fractions.
    inverse
        Key of :data:`hrca.data._inverses.INVERSES` that recovers the counts exactly; None if no inverse does.
    is_text
        Whether the values are no numbers.
    """

    text: str
    is_counts: bool = False
    is_suspicious: bool = False
    is_mostly_integer: bool = False
    inverse: str | None = None
    is_text: bool = False


def classify_values(sample: sparse.csr_array) -> ValueScale:
    """Classify the values of a matrix.

    Parameters
    ----------
    sample
        Some of its cells, shape (n_sampled_cells, n_vars), from :func:`hrca.data._row_reader.sample_cells`.

    Examples
    --------
    >>> classify_values(sparse.csr_array(np.log1p([[2500.0, 7500.0], [5000.0, 5000.0], [0.0, 10000.0]]))).text
    'log1p of counts per 10,000 (within these 2 genes)'
    """
    values = sample.data
    if not np.isfinite(values).all():
        return ValueScale("NaN" if np.isnan(values).any() else "infinite values")
    if len(values) and values.max() > MAX_COUNT:
        return ValueScale(describe_values(values, values[values > MAX_COUNT]))
    for classify in (_classify_integers, _classify_negative, _classify_normalised, _classify_transformed):
        scale = classify(sample)
        if scale is not None:
            return scale
    return _classify_fractions(sample)


def _classify_integers(sample: sparse.csr_array) -> ValueScale | None:
    """Classify integers, 0 or more; None for other values."""
    values = sample.data
    if (values < 0).any() or (values != np.rint(values)).any():
        return None
    if not len(values):
        is_suspicious = sample.shape[0] >= MIN_SAMPLED_CELLS and sample.shape[1] > 0
        return ValueScale("zeros only", is_counts=True, is_suspicious=is_suspicious)
    smallest, n_detected = _reduce_by_cell(sample, np.minimum, values)
    well_detected = n_detected >= MIN_DETECTED_GENES
    if well_detected.sum() >= MIN_SAMPLED_CELLS:
        if values.max() == 1:
            return ValueScale("only 0 and 1 (binarised?)", is_counts=True, is_suspicious=True)
        median = np.median(smallest[well_detected])
        if median > 1:
            text = f"integers without ones: the smallest above 0 is {median:.0f} in the median cell"
            return ValueScale(f"{text} (rounded normalised values?)", is_counts=True, is_suspicious=True)
    return ValueScale("raw counts", is_counts=True)


def _classify_negative(sample: sparse.csr_array) -> ValueScale | None:
    """Classify values some of which are negative; None for other values."""
    values = sample.data
    if not (values < 0).any():
        return None
    example = f"such as {values.min():.4g}"
    if sample.nnz > MIN_DENSE_FRACTION * np.prod(sample.shape) and sample.shape[0] >= MIN_SAMPLED_CELLS:
        if np.abs(sample.mean(axis=1)).max() < MAX_ABS_CLR_MEAN:
            return ValueScale(f"values around 0 within each cell, {example} (centred log ratios, CLR?)")
        if np.median(np.abs(sample.mean(axis=0))) < MAX_ABS_CENTRED_MEAN:
            return ValueScale(f"values around 0 for each gene, {example} (scaled data: z-scores or residuals?)")
    return ValueScale(f"negative values {example} (scaled data, residuals or CLR?)")


def _classify_normalised(sample: sparse.csr_array) -> ValueScale | None:
    """Classify values with equal sums in all cells, after the inverse of a logarithm; None for other values."""
    for name, inverse in INVERSES.items():
        if name == "square root" or not is_invertible(name, sample.data):
            continue
        sums, _ = _reduce_by_cell(sample, np.add, inverse(sample.data))
        is_equal = sums.std() < SUM_RTOL * sums.mean()
        # the sums of one or two cells can be equal by chance, unless they are round
        if is_equal and (len(sums) > 2 or np.isclose(sums.mean(), [1, 1e4, 1e6]).any()):
            text = _describe_normalised(name, sums.mean(), sample.shape[1])
            return ValueScale(text, inverse=name if invert_to_counts(sample, name) is not None else None)
    return None


def _describe_normalised(transformation: str, target_sum: float, n_vars: int) -> str:
    """Describe values that were normalised to a sum in each cell, and then transformed."""
    total = f"{target_sum:,.0f}" if target_sum > 10 else f"{target_sum:.3g}"
    content = "fractions of each cell's counts" if total == "1" else f"counts per {total}"
    within = f" (within these {n_vars:,} genes)" if n_vars < MIN_GENES_WITHOUT_MENTION else ""
    return (f"{transformation} of {content}" if transformation else content) + within


def _classify_transformed(sample: sparse.csr_array) -> ValueScale | None:
    """Classify values that an inverse turns into integers or into ratios of integers; None for other values."""
    is_mostly_integer = np.mean(sample.data == np.rint(sample.data)) > MIN_INTEGER_FRACTION
    for name, inverse in INVERSES.items():
        if name and is_invertible(name, sample.data) and is_near_integer(inverse(sample.data)).all():
            return ValueScale(f"{name} of counts", inverse=name)
        if not is_mostly_integer and invert_to_counts(sample, name) is not None:
            return ValueScale(f"{name} of normalised counts".removeprefix(" of "), inverse=name)
    return None


def _classify_fractions(sample: sparse.csr_array) -> ValueScale:
    """Classify fractions, 0 or more, that no inverse turns into counts."""
    values = sample.data
    fractions = values[values != np.rint(values)]
    if len(fractions) < (1 - MIN_INTEGER_FRACTION) * len(values):
        text = f"counts and fractions such as {fractions[0]:.4g} (expected or ambient-corrected counts?)"
        return ValueScale(text, is_mostly_integer=True)
    filled = sample.nnz / np.prod(sample.shape)
    if sample.nnz > MIN_DENSE_FRACTION * np.prod(sample.shape):
        return ValueScale(f"fractions such as {fractions[0]:.4g}, {filled:.0%} of them above 0 (imputed or denoised?)")
    return ValueScale(describe_values(values, fractions))


def _reduce_by_cell(sample: sparse.csr_array, reduce: np.ufunc, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce the stored values of each cell that has any.

    Parameters
    ----------
    sample
        Shape (n_sampled_cells, n_vars).
    reduce
        Function to reduce by.
    values
        Value of each stored entry, shape (nnz,).

    Returns
    -------
    Reduced values and numbers of stored entries, shape (number of cells that have any,).
    """
    n_values = np.diff(sample.indptr)
    has_values = n_values > 0
    return reduce.reduceat(values, sample.indptr[:-1][has_values]), n_values[has_values]
