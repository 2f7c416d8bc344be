"""Detector `features`: distances in the features of a frozen image network."""
