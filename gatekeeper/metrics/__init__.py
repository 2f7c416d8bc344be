"""What a monitoring system sees: metrics by subject, their exposition, health and readiness.

`tally` and `tally_files` are for every role; the rest needs the extra `web`.
"""
