"""Lesions: regions that came with a study or that a detector found, and what is said of each."""
