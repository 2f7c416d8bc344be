"""The listener: C-ECHO and C-STORE from known nodes, each instance durable before its answer.

Imports no torch and no highdicom, and never touches pixels.
"""
