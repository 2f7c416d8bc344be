"""Training: read reference sets, fit, calibrate, write bundles. Never run by the daemon."""
