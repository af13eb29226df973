"""Calibration, prediction sets, novelty and back-off."""
