"""Result objects for the PACS, each a pure function of an assessment."""
