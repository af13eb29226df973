"""Networks, count likelihood and calibration, in torch."""
