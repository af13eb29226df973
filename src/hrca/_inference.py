"""Run a network over any number of cells: one aligned, dense batch at a time, a few numbers a label kept of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from tqdm.auto import tqdm

from ._calibration import Calibration
from ._counts import check_values
from ._evidence import CountEvidence
from ._genes import GeneMatch, align
from ._platform import fit_platform, judge
from ._rows import row_batches

# Seconds after which a bar is shown: what ends sooner needs none.
BAR_AFTER_S = 3


def aligned_batches(x, match: GeneMatch, *, batch_size: int, source: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Go through a matrix in order, aligned to the model's genes.

    Parameters
    ----------
    x
        Raw counts, shape (n_obs, n_vars), sparse or dense, in memory or not.
    match
        What :func:`hrca._find_genes.find_genes` found for its genes.
    batch_size
        Rows in a batch.
    source
        What to call the matrix in an error.

    Yields
    ------
    Which rows they are, and their raw counts, shape (at most `batch_size`, n_genes), dense float32.

    Raises
    ------
    ValueError
        If `batch_size` is below 1, or a batch holds values that are not raw counts.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    start = 0
    for counts in row_batches(x, batch_size):
        rows = slice(start, start + counts.shape[0])
        check_values(counts.data if sparse.issparse(counts) else counts, source)
        counts = align(counts, match)
        # one memory layout, so that the same counts give the same sums whatever they came in
        yield rows, counts.toarray() if sparse.issparse(counts) else np.ascontiguousarray(counts)
        start = rows.stop


def show_bar(batches: Iterator[tuple[slice, np.ndarray]], n_obs: int, what: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Pass batches of :func:`aligned_batches` on, and show a progress bar of their cells, if that takes long.

    Parameters
    ----------
    batches
        From :func:`aligned_batches`.
    n_obs
        Number of all cells.
    what
        What is done with them, in a word before the bar.
    """
    with tqdm(total=n_obs, desc=what, unit=" cells", unit_scale=True, delay=BAR_AFTER_S) as bar:
        for rows, counts in batches:
            yield rows, counts
            bar.update(rows.stop - rows.start)


@torch.inference_mode()
def run(
    network: Callable[[torch.Tensor], torch.Tensor], batches: Iterator[tuple[slice, np.ndarray]]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Run a network over batches of counts.

    Parameters
    ----------
    network
        Takes counts, shape (n_obs, n_genes); moves them to its device itself.
    batches
        From :func:`aligned_batches`.

    Yields
    ------
    Which rows a batch is, the network's output for it, and its counts.
    """
    for rows, counts in batches:
        yield rows, network(torch.from_numpy(counts)).float().cpu().numpy(), counts


@dataclass(frozen=True)
class Judgement:
    """What the module says of a query.

    Attributes
    ----------
    log_probabilities
        Shape (n_obs, n_labels), float32; meaningless for a cell without counts.
    depth
        Counts of each cell on the genes that the model uses, shape (n_obs,); at most those of the deepest cells that
        the network judges whole.
    platform_spread
        Standard deviation of the log of the platform factors over the genes used; 0 where none were fitted.
    """

    log_probabilities: np.ndarray
    depth: np.ndarray
    platform_spread: float

    @property
    def has_counts(self) -> np.ndarray:
        """Which cells have any counts on the genes that the model uses, shape (n_obs,)."""
        return self.depth > 0

    @property
    def probabilities(self) -> np.ndarray:
        """Shape (n_obs, n_labels), float32; zeros for a cell without counts."""
        return np.exp(self.log_probabilities) * self.has_counts[:, None]


def judge_cells(
    module: torch.nn.Module,
    batches: Iterator[tuple[slice, np.ndarray]],
    n_obs: int,
    present: np.ndarray,
    *,
    match_platform: bool,
    calibrated: bool = True,
) -> Judgement:
    """Label cells by network and counts, in one forward; the memory grows with n_obs x n_labels, not with n_genes.

    Parameters
    ----------
    module
        The :class:`hrca._module.HRCAModule`.
    batches
        From :func:`aligned_batches`.
    n_obs
        Number of cells.
    present
        Which of the model's genes the query measures, shape (n_genes,).
    match_platform
        Whether to fit platform factors to these cells; see :func:`hrca._platform.fit_platform`.
    calibrated
        Whether the probabilities are calibrated; the labels are the same either way.

    Returns
    -------
    What the module says of each cell, in order.
    """
    genes_used = module.genes_used.cpu().numpy() * present
    n_labels = module.se_classifier.output.out_features
    fitted = module.weighs_counts
    says = np.zeros((n_obs, 2 * n_labels if fitted else n_labels), dtype=np.float32)
    sets = [genes_used, genes_used * module.evidence.informative.cpu().numpy()] if fitted else [genes_used]
    depth, totals = np.zeros((n_obs, len(sets))), np.zeros(len(genes_used))
    for rows, output, counts in run(module.judge, batches):
        says[rows] = output
        depth[rows] = counts @ np.stack(sets, axis=1)
        totals += genes_used * counts.sum(axis=0, dtype=np.float64)
    spread = 0.0
    if fitted:
        says, factors = _weigh(module.evidence, says, depth, totals, genes_used, match_platform)
        spread = float(np.log(factors[genes_used > 0]).std()) if genes_used.any() else 0.0
    seen = depth[:, 0].clip(max=float(module.evidence.deepest)) if fitted else depth[:, 0]
    log_probabilities = _calibrate(module.calibration, says, seen) if calibrated else says
    return Judgement(log_probabilities.astype(np.float32), seen, spread)


@torch.inference_mode()
def _calibrate(calibration: Calibration, log_probabilities: np.ndarray, depth: np.ndarray) -> np.ndarray:
    on_cpu = Calibration()
    on_cpu.load_state_dict(calibration.state_dict())
    return on_cpu(torch.from_numpy(log_probabilities).double(), torch.from_numpy(depth)).numpy()


@torch.inference_mode()
def _weigh(
    evidence: CountEvidence,
    says: np.ndarray,
    depth: np.ndarray,
    totals: np.ndarray,
    genes_used: np.ndarray,
    match_platform: bool,
) -> tuple[np.ndarray, np.ndarray]:
    # double precision, on the CPU: the factors must not depend on the order of the cells
    on_cpu = CountEvidence(*evidence.log_profiles.shape).double()
    on_cpu.load_state_dict(evidence.state_dict())
    network, log_likelihood = torch.from_numpy(says).double().chunk(2, dim=1)
    depths, totals_, factors = (torch.from_numpy(x).double() for x in (depth, totals, genes_used))
    if match_platform:
        factors = fit_platform(on_cpu, log_likelihood, depths, totals_, factors)
    return judge(on_cpu, network, log_likelihood, depths, factors).numpy(), factors.numpy()
