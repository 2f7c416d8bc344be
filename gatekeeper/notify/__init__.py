"""Telling people what happens: events, their messages, and how those travel."""
