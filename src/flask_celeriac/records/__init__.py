"""What became of every task."""
