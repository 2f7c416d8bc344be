"""Storage keeps facts: schema, job table, deliveries, nodes, spool. It decides nothing.

Imports neither `gatekeeper` nor `models`.
"""
