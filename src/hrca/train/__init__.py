"""Training phases, plans, callbacks, checkpoints and adaptation."""
