"""The applications under test: the same task on each side, set up as a user would."""
