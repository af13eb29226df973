"""A progress bar in a file takes a line now and then."""

import io

from tqdm import tqdm

from hrca.cli._progress import INTERVAL_S, SparseProgress


def test_a_state_is_written_in_each_interval():
    seconds, stream = [0.0], io.StringIO()
    progress = SparseProgress(stream, clock=lambda: seconds[0])
    for _ in tqdm(range(100), desc="cells", file=progress, mininterval=0, ncols=40):
        seconds[0] += INTERVAL_S / 10
    progress.write("a message\n")
    lines = stream.getvalue().splitlines()
    assert 9 <= len(lines) - 1 <= 11
    assert all(line.startswith("cells") for line in lines[:-1])
    assert lines[-1] == "a message"


def test_messages_and_empty_lines_pass():
    stream = io.StringIO()
    progress = SparseProgress(stream)
    for text in ("a\n", "\n", "\rbar", "\n", "b\n"):
        progress.write(text)
    assert stream.getvalue() == "a\n\nb\n"
