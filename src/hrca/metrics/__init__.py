"""Scores of predicted labels, of their confidence, and of prediction sets."""

from ._calibration import N_BINS, calibration_error, calibration_table, reliability_table
from ._depth_bins import depth_bins
from ._hierarchical import hierarchical_scores
from ._labels import annotation_scores, confusion_table
from ._risk_coverage import risk_coverage, risk_coverage_area
from ._sets import set_scores

__all__ = [
    "N_BINS",
    "annotation_scores",
    "calibration_error",
    "calibration_table",
    "confusion_table",
    "depth_bins",
    "hierarchical_scores",
    "reliability_table",
    "risk_coverage",
    "risk_coverage_area",
    "set_scores",
]
