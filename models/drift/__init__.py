"""Drift: whether what comes now is like what came before, with a stated rate of false alarms.

`sequential` is the test for scores and header values, `clock` the look at a device's clock. Plain
numbers in and out, and no array library: the periodic work runs where none is installed.
"""
