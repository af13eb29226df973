"""The methods that the accuracy benchmark compares, HRCA among them; each file runs in its own environment.

This file and the two above it import nothing: the environments of the published methods have neither HRCA nor its
dependencies.
"""
