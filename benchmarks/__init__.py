"""Benchmarks of HRCA; README.md in this folder says what each measures and how to run it."""
