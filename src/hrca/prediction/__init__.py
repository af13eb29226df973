"""From counts to probabilities: batched forward passes and platform factors."""
