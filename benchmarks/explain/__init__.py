"""The genes behind a label."""
