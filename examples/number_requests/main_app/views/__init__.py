"""What the web server answers."""
