"""Scores of predicted labels, of their confidence, and of sets of labels."""

from ._confidence_scores import (
    N_BINS,
    calibration_error,
    calibration_table,
    depth_bins,
    reliability_table,
    risk_coverage,
    risk_coverage_area,
    set_scores,
)
from ._label_scores import annotation_scores, confusion_table, hierarchical_scores

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
