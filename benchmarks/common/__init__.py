"""Code that several benchmarks share: data, methods, scores, and the file of results."""
