"""Post-hoc fitting on held-out cells, conformal prediction sets and novelty."""
