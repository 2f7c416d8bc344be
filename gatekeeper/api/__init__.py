"""REST: `/api/v1`, everything that the pages do, for programs; described by OpenAPI.

A route names its one permission, reads facts by functions of `storage`, and changes them by the
services that the pages and the command line use. What it answers is declared field by field, so
that a change inside of Gatekeeper changes no answer unseen.
"""
