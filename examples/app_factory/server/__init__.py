"""A Flask application made by a factory, whose configuration is in a file."""
