"""The memory of this process (Linux with glibc), by the standard library alone: every environment can run it."""

import ctypes

KB_PER_GB = 1024**2


def memory_gb(field: str) -> float:
    """Return this process's memory from the kernel: VmRSS is the current memory, VmHWM the maximum so far."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / KB_PER_GB


def reset_peak_memory() -> float:
    """Restart the maximum of memory, VmHWM, and return the current memory in GB.

    Freed memory goes back to the kernel first. Otherwise the next arrays take it, and their peak is not seen.
    """
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return memory_gb("VmRSS")
