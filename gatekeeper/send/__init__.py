"""The sender: drains deliveries to nodes and records every answer."""
