"""Models judge arrays: detectors, training, calibration, evaluation. No DICOM, no SQL.

Imports neither `gatekeeper` nor `storage`. This module and `models.registry` import no torch, so
that the command line and the periodic work stay light.
"""
