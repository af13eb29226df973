"""From probabilities to labels, and from labels to entries of an AnnData or a file."""
