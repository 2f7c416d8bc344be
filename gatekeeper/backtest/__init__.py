"""Backtest: what other terms would have decided about past studies, before anyone activates them.

The core is pure: stored evidence in, decisions and counts out, by the same functions that judge
live studies. Reading, analysing again and writing pages are at the edge.
"""
