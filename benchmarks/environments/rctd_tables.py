"""Make the likelihood tables of RCTD, which rctd-py would fetch from the internet at its first run.

    PYTHON benchmarks/environments/rctd_tables.py FOLDER/q_matrices.npz

They contain the log-probability of each count, given its Poisson rate and the standard deviation of a log-normal
factor, like the tables of ``rctd._likelihood.compute_q_matrix``. All standard deviations are computed together, which
takes minutes in place of hours.
"""

import sys
from pathlib import Path

import numpy as np
from rctd._likelihood import _ht_pdf_norm, build_x_vals
from rctd._sigma import SIGMA_ALL
from rctd._types import RCTDConfig
from scipy.special import gammaln

# As in compute_q_matrix: steps on each side of zero of the log-normal factor's logarithm, and their length.
N_STEPS = 5000
STEP = 4e-3
# Minimum probability, so that logarithms are finite.
MIN_PROBABILITY = 1e-300


def tables(rates: np.ndarray, sigmas: np.ndarray, max_count: int) -> np.ndarray:
    """Integrate the Poisson likelihood over the log-normal factor, for all standard deviations at once.

    Parameters
    ----------
    rates
        Poisson rates without the factor, shape (n_rates,).
    sigmas
        Standard deviations in hundredths, shape (n_sigmas,).
    max_count
        Maximum count.

    Returns
    -------
    Log-probabilities, shape (n_sigmas, max_count + 3, n_rates); the package reads two rows past the maximum count.
    """
    logs = np.arange(-N_STEPS, N_STEPS + 1) * STEP
    density = np.stack(
        [np.maximum(_ht_pdf_norm(logs / sigma) / sigma, MIN_PROBABILITY) for sigma in sigmas / 100], axis=1
    )
    log_rate = np.log(rates)[:, None] + logs
    rate = np.exp(log_rate)
    result = np.empty((len(sigmas), max_count + 3, len(rates)))
    for count in range(max_count + 3):
        poisson = np.exp(count * log_rate - rate - gammaln(count + 1))
        result[:, count] = np.log(np.maximum(poisson @ density * STEP, MIN_PROBABILITY)).T
    return result


def main() -> None:
    """Write the tables to the file that the command line names."""
    rates = build_x_vals()
    log_probabilities = tables(rates, SIGMA_ALL, RCTDConfig().K_val)
    np.savez(
        Path(sys.argv[1]),
        X_vals=rates,
        **{f"Q_{s}": table for s, table in zip(SIGMA_ALL, log_probabilities, strict=True)},
    )


if __name__ == "__main__":
    main()
