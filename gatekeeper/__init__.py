"""Gatekeeper: a DICOM node that scores how far each study departs from a normal population.

The package that decides. It knows `storage` (facts) and `models` (judgement on arrays);
neither of them knows it, nor each other.
"""

__version__ = "0.1.0"
