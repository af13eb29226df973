"""Threads of OpenMP that wait for each other sleep sooner, so that other programs get their CPUs."""

import os

# Rounds of the loop in which a thread of GNU's OpenMP waits before it sleeps, by default 300,000. Fewer than 3,000 make
# two threads slower on idle CPUs, and more make them slower beside a busy program (docs/decisions/0008).
WAITING_ROUNDS = 3_000


def shorten_waits() -> None:
    """Set the rounds for libraries that are loaded later, unless the environment says how threads wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(WAITING_ROUNDS))
