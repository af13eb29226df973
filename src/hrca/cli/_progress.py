"""Progress bars in a file: a line now and then, in place of each state of the bar."""

import io
import time
from collections.abc import Callable
from typing import TextIO

# Seconds between two lines of a progress bar.
INTERVAL_S = 30.0


class SparseProgress(io.TextIOBase):
    """A stream that passes text on, except the states of progress bars, which begin with a carriage return.

    Parameters
    ----------
    stream
        The stream that gets the text.
    clock
        Function that returns the time in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        self.stream, self.clock = stream, clock
        self._last = clock()
        # what a bar writes when it ends, an empty line, belongs to the state before
        self._in_bar = False

    def write(self, text: str) -> int:
        """Write a text; of a progress bar, one state in each interval."""
        if text.startswith("\r"):
            self._in_bar = True
            if self.clock() - self._last >= INTERVAL_S and text.strip():
                self._last = self.clock()
                self.stream.write(f"{text.strip()}\n")
        elif text.strip() or not self._in_bar:
            self._in_bar = False
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True
