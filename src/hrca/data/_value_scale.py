"""Classify the values of a matrix, invert a transformation where that is exact, and check for raw counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ._row_reader import MAX_BLOCK_VALUES, in_memory, sample_cells

# log1p(CP10k) cannot exceed log1p(1e4) = 9.21; log2(x + 1) of it stays below 13.3.
MAX_LOG_VALUE = 13.3


def check_counts(x, source: str) -> None:
    """Refuse a matrix that does not hold raw counts.

    A matrix in memory is looked at whole, another at the cells of :func:`sample_cells`.

    Parameters
    ----------
    x
        Shape (n_obs, n_vars); sparse or dense, in memory or not.
    source
        What to call the matrix in an error, e.g. "`adata.X`".

    Raises
    ------
    ValueError
        If a value is NaN, infinite, negative or not an integer.
    """
    for values in _blocks(x):
        check_values(values, source)


def check_values(values: np.ndarray, source: str) -> None:
    """Refuse values that are not raw counts; see :func:`check_counts`."""
    if values.dtype.kind in "bu":
        return
    bad = values < 0
    if values.dtype.kind == "f":
        bad = bad | ~np.isfinite(values) | (values != np.rint(values))
    if bad.any():
        raise ValueError(
            f"{source} must hold raw counts (integers, 0 or more), but it holds "
            f"{describe_values(values, values[bad])}. Name the layer with the counts: `layer=`, or put them into one: "
            "`adata.layers['counts'] = ...`, before normalising."
        )


def describe_values(values: np.ndarray, bad: np.ndarray) -> str:
    """Say in words what values that are no counts are, from all of them and the bad ones."""
    first = bad[0]
    if np.isnan(first):
        return "NaN"
    if np.isinf(first):
        return "infinite values"
    if bad.min() < 0:
        return f"negative values such as {bad.min():.4g} (scaled data?)"
    if values.max() <= MAX_LOG_VALUE:
        return f"fractions such as {first:.4g}, none above {values.max():.3g} (log-normalised data?)"
    return f"fractions such as {first:.4g} (normalised or ambient-corrected data?)"


def _blocks(x) -> Iterator[np.ndarray]:
    if sparse.issparse(x):
        yield from (x.data[start : start + MAX_BLOCK_VALUES] for start in range(0, x.nnz, MAX_BLOCK_VALUES))
        return
    if not in_memory(x):
        yield sample_cells(x).data
        return
    n_obs, n_vars = x.shape
    n_rows = max(1, MAX_BLOCK_VALUES // max(1, n_vars))
    yield from (np.asarray(x[start : start + n_rows]).ravel() for start in range(0, n_obs, n_rows))


# Counts of a cell in which this many genes are detected have a 1 among them, and of some cells a 2: a gene panel's too.
MIN_DETECTED_GENES = 20

# Cells without which such a rule is not applied.
MIN_SAMPLED_CELLS = 50

# Sums of normalised cells differ by rounding alone; those of thinned or filtered ones by far more.
SUM_RTOL = 1e-3

# Means of centred genes in a sample of the cells that they were centred over, of standard deviation 1.
MAX_ABS_CENTRED_MEAN = 0.2

# Share of entries above zero that only imputed or denoised values reach.
DENSE_FRACTION = 0.8

# Share of integers among the values above which these are counts, some of them changed.
INTEGER_MAJORITY = 0.5

# How far values may lie from integers: relative rounding of float32, through an exponential, and what it is at 0.
RTOL, ATOL = 5e-6, 1e-4

# The smallest count of a cell is at most this, for its counts to be recovered.
MAX_SMALLEST_COUNT = 10

# exp(50) is beyond any count.
MAX_EXPONENT = 50.0

# How each transformation is undone.
INVERSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda values: values,
    "log1p": np.expm1,
    "log2(x + 1)": lambda values: np.exp2(values) - 1,
    "log10(x + 1)": lambda values: 10**values - 1,
    "square root": np.square,
}


@dataclass(frozen=True)
class ValueScale:
    """What a matrix holds.

    Attributes
    ----------
    text
        In words, to complete "it holds".
    is_counts
        Whether these are integers, 0 or more.
    is_suspicious
        Whether they are, but do not look like counts.
    is_mostly_integer
        Whether most are integers, 0 or more, and the others fractions.
    undo
        Which of :data:`INVERSES` leads back to integers, exactly; None: none does.
    """

    text: str
    is_counts: bool = False
    is_suspicious: bool = False
    is_mostly_integer: bool = False
    inverse: str | None = None


def classify_values(sample: sparse.csr_array) -> ValueScale:
    """Say what a matrix holds.

    Parameters
    ----------
    sample
        Some of its cells, from :func:`hrca.data._row_reader.sample_cells`.

    Examples
    --------
    >>> classify_values(sparse.csr_array(np.log1p([[2500.0, 7500.0], [5000.0, 5000.0], [0.0, 10000.0]]))).text
    'log1p of counts per 10,000 (within these 2 genes)'
    """
    values = sample.data
    if not np.isfinite(values).all():
        return ValueScale("NaN" if np.isnan(values).any() else "infinite values")
    for look in (_integers, _negative, _normalised, _transformed):
        scale = look(sample)
        if scale is not None:
            return scale
    return _other(sample)


def invert_to_counts(sample: sparse.csr_array, inverse: str) -> sparse.csr_array | None:
    """Undo a transformation; where that gives no integers, find the smallest in the ratios of each cell's values.

    Parameters
    ----------
    sample
        Transformed values, shape (n_obs, n_vars), without stored zeros.
    undo
        One of :data:`INVERSES`.

    Returns
    -------
    Counts, shape (n_obs, n_vars), float32; None if some cell's values are not in the ratio of integers.

    Examples
    --------
    >>> recover(sparse.csr_array(np.log1p([[0.0, 3333.3333, 6666.6667]])), "log1p").toarray()
    array([[0., 1., 2.]], dtype=float32)
    """
    if sample.nnz == 0 or not _may_undo(inverse, sample.data):
        return None
    values = INVERSES[inverse](sample.data.astype(np.float64))
    if inverse and _near_integers(values).all():
        return sparse.csr_array((np.rint(values).astype(np.float32), sample.indices, sample.indptr), shape=sample.shape)
    n_values = np.diff(sample.indptr)
    filled = n_values > 0
    starts, lengths = sample.indptr[:-1][filled], n_values[filled]
    per_cell = values / np.repeat(np.minimum.reduceat(values, starts), lengths)
    counts, open_ = np.zeros_like(values), np.ones(len(values), dtype=bool)
    for smallest in range(1, MAX_SMALLEST_COUNT + 1):
        scaled = per_cell * smallest
        fits = np.repeat(np.logical_and.reduceat(_near_integers(scaled), starts), lengths) & open_
        counts[fits] = np.rint(scaled[fits])
        open_ &= ~fits
        if not open_.any():
            return sparse.csr_array((counts.astype(np.float32), sample.indices, sample.indptr), shape=sample.shape)
    return None


def _may_undo(inverse: str, values: np.ndarray) -> bool:
    return inverse in ("", "square root") or values.max() <= MAX_EXPONENT


def _near_integers(values: np.ndarray) -> np.ndarray:
    return np.abs(values - np.rint(values)) <= ATOL + RTOL * values


def _rows(sample: sparse.csr_array, reduce: np.ufunc, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduce the values of each cell that has any; also the number of its values."""
    n_values = np.diff(sample.indptr)
    filled = n_values > 0
    return reduce.reduceat(values, sample.indptr[:-1][filled]), n_values[filled]


def _integers(sample: sparse.csr_array) -> ValueScale | None:
    values = sample.data
    if (values < 0).any() or (values != np.rint(values)).any():
        return None
    if not len(values):
        return ValueScale(
            "zeros only", is_counts=True, is_suspicious=sample.shape[0] >= MIN_SAMPLED_CELLS and sample.shape[1] > 0
        )
    smallest, n_detected = _rows(sample, np.minimum, values)
    well_detected = n_detected >= MIN_DETECTED_GENES
    if well_detected.sum() >= MIN_SAMPLED_CELLS and values.max() == 1:
        return ValueScale("only 0 and 1 (binarised?)", is_counts=True, is_suspicious=True)
    if well_detected.sum() >= MIN_SAMPLED_CELLS and np.median(smallest[well_detected]) > 1:
        typical = np.median(smallest[well_detected])
        return ValueScale(
            f"integers without ones: the smallest above 0 is {typical:.0f} in the median cell (rounded normalised "
            "values?)",
            is_counts=True,
            is_suspicious=True,
        )
    return ValueScale("raw counts", is_counts=True)


def _negative(sample: sparse.csr_array) -> ValueScale | None:
    values = sample.data
    if not (values < 0).any():
        return None
    such = f"such as {values.min():.4g}"
    if sample.nnz > DENSE_FRACTION * np.prod(sample.shape) and sample.shape[0] >= MIN_SAMPLED_CELLS:
        if np.abs(sample.mean(axis=1)).max() < MAX_ABS_CENTRED_MEAN / 100:
            return ValueScale(f"values around 0 within each cell, {such} (centred log ratios, CLR?)")
        if np.median(np.abs(sample.mean(axis=0))) < MAX_ABS_CENTRED_MEAN:
            return ValueScale(f"values around 0 for each gene, {such} (scaled data: z-scores or residuals?)")
    return ValueScale(f"negative values {such} (scaled data, residuals or CLR?)")


def _normalised(sample: sparse.csr_array) -> ValueScale | None:
    for name, inverse in INVERSES.items():
        if name == "square root" or not _may_undo(name, sample.data):
            continue
        sums, _ = _rows(sample, np.add, inverse(sample.data))
        # of one or two cells, only a round sum tells
        alike = sums.std() < SUM_RTOL * sums.mean() and (len(sums) > 2 or np.isclose(sums.mean(), [1, 1e4, 1e6]).any())
        if alike:
            whole = f"{sums.mean():,.0f}" if sums.mean() > 10 else f"{sums.mean():.3g}"
            within = f" (within these {sample.shape[1]:,} genes)" if sample.shape[1] < 2_000 else ""
            content = "shares of each cell's counts" if whole == "1" else f"counts per {whole}"
            text = f"{name} of {content}" if name else content
            return ValueScale(text + within, inverse=name if invert_to_counts(sample, name) is not None else None)
    return None


def _transformed(sample: sparse.csr_array) -> ValueScale | None:
    mostly_integers = np.mean(sample.data == np.rint(sample.data)) > INTEGER_MAJORITY
    for name, inverse in INVERSES.items():
        if _may_undo(name, sample.data) and name and _near_integers(inverse(sample.data)).all():
            return ValueScale(f"{name} of counts", inverse=name)
        if not mostly_integers and invert_to_counts(sample, name) is not None:
            return ValueScale(f"{name} of normalised counts".removeprefix(" of "), inverse=name)
    return None


def _other(sample: sparse.csr_array) -> ValueScale:
    values = sample.data
    fractions = values[values != np.rint(values)]
    if len(fractions) < (1 - INTEGER_MAJORITY) * len(values):
        text = f"counts and fractions such as {fractions[0]:.4g} (expected or ambient-corrected counts?)"
        return ValueScale(text, is_mostly_integer=True)
    if sample.nnz > DENSE_FRACTION * np.prod(sample.shape):
        share = sample.nnz / np.prod(sample.shape)
        return ValueScale(f"fractions such as {fractions[0]:.4g}, {share:.0%} of them above 0 (imputed or denoised?)")
    return ValueScale(describe_values(values, fractions))
