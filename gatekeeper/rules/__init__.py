"""Pure decisions: what a study's findings mean, and where it goes."""
