"""Validators of the results, for reports with lesions."""

from __future__ import annotations

from results.validators import dciodvfy, iod_validator, sr_validator

__all__ = ["dciodvfy", "iod_validator", "sr_validator"]
