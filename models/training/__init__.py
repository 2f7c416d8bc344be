"""Training: reading reference sets, fitting, calibrating, writing bundles. Never run by the daemon."""
