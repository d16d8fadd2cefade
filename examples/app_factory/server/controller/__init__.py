"""What the application does: its routes and its tasks."""
