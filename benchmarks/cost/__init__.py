"""Time and memory of training, of prediction and of the checks before it."""
