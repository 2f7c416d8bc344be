"""Evaluation: what a bundle detects, measured on scans it was not fitted on."""
