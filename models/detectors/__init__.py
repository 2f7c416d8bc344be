"""Detectors: one readable file each, with its settings, its training and its scoring."""
