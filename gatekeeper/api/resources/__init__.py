"""What the API has: a module for each subject, which adds its routes."""
