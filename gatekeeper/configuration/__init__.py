"""The dynamic configuration: nodes, active models, policy and more, each change a version.

The tables are the truth, and every process reads them afresh. `changes.changing` is the one way to
change them.
"""
