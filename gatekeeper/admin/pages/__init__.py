"""The pages: a module for each, which adds its routes."""
