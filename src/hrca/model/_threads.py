"""The number of torch's threads while HRCA computes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import torch


@contextmanager
def within_cpu_quota() -> Iterator[None]:
    """Limit torch's threads to those that this process may use, and restore their number afterwards.

    torch starts a thread for each CPU of the process's affinity, also where a container or a job has a quota of fewer.
    Threads then wait for others that the quota has stopped. joblib knows the quotas of cgroups.

    Notes
    -----
    A number within the limit is not changed: it is the user's, or torch's default. The load of the machine is not
    considered, because the number of threads changes results in their last bits (docs/decisions/0008).
    """
    found, usable = torch.get_num_threads(), _usable_threads()
    if found <= usable:
        yield
        return
    torch.set_num_threads(usable)
    try:
        yield
    finally:
        torch.set_num_threads(found)


def _usable_threads() -> int:
    """Return the number of CPUs within affinity and quota, or ``OMP_NUM_THREADS`` if that is lower."""
    # a function of scanpy that numba compiles raises torch's number above it: both use the same OpenMP
    requested = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    usable = joblib.cpu_count()
    return min(usable, int(requested)) if requested.isdecimal() and int(requested) > 0 else usable
