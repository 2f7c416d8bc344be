"""The demonstration: a sample study, an embedded archive, and the whole line between them."""
