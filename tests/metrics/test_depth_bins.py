"""Depth bins."""

from hrca.metrics import depth_bins


def test_a_depth_bin_ends_where_the_next_begins():
    bins = depth_bins([9.5, 10, 99, 100], edges=(10, 100))
    assert list(bins) == ["<10", "10-100", "10-100", ">=100"]
    assert bins.ordered
