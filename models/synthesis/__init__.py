"""Missing contrast: a small network draws a contrast that a reference set does not have.

What it draws is marked as synthetic wherever it goes (`models.scan.Synthetic`): detectors may be
fitted on it; nothing is ever calibrated or measured on it.
"""
