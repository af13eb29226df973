"""The grid of the accuracy benchmark."""

from benchmarks.accuracy import grid


def test_the_grid_has_no_row_twice():
    keys = [job.key(depth) for job in grid.jobs(["a", "b"], 3) for depth in job.depths]
    assert len(keys) == len(set(keys))
    seeds = [int(key[-1]) for key in keys]
    assert seeds == sorted(seeds)


def test_the_quick_grid_is_part_of_the_grid():
    whole = {job.key(depth) for job in grid.jobs(["a"], 1) for depth in job.depths}
    quick = {job.key(depth) for job in grid.jobs(["a"], 1, is_quick=True) for depth in job.depths}
    assert quick < whole
    assert len(quick) < 10
