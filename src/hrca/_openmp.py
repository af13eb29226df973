"""How long the threads of OpenMP wait for each other before they let other programs have their CPUs."""

import os

# Rounds of the loop in which a thread of GNU's OpenMP waits, by default 300,000. With 3,000, two threads are as fast on
# idle CPUs. Beside a busy program, they took 1.2 times as long with 1,000, and 2 times with 10,000
# (docs/decisions/0008).
WAITING_ROUNDS = 3_000


def shorten_waits() -> None:
    """Set the rounds for libraries that are loaded later, unless the environment says how threads wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(WAITING_ROUNDS))
