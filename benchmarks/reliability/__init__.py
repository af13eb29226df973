"""Attacks on inputs, files and processes."""
