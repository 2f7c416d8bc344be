"""Who signs in: accounts, passwords, sessions, and what each role may do."""
