"""Smoothing of labels over neighbouring cells."""
