"""The gate: what passes to whom, what is held, and who may overrule it."""
