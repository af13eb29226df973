"""Accuracy of HRCA, published methods and plain baselines on pairs of real data sets."""
