"""Number requests: store numbers, have them processed by the clock, tell what became of them."""
