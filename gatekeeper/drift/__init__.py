"""Drift: whether what a device sends is like what it sent before; said once, and until it is reset.

For each device, protocol and detector the scores and what headers say are compared with a
reference window by `models.drift.sequential`, at a stated rate of false alarms. For each scanner
its clock and its software are looked at. `values` takes out of a settled job what is looked at,
`stream` and `scanner` decide, `watch` is the tick, `overview` what people see and do. Nothing is
held because of drift: people are told.
"""
