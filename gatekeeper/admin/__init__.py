"""Pages for the people who run it: drawn here, decided by the services that the CLI uses.

No SQL and no torch in here: a page reads facts by functions of `storage`, and changes them by
services of `gatekeeper`. Every asset is shipped; no page needs the internet.
"""
