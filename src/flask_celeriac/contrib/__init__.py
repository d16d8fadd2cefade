"""What needs a dependency that not everybody has; nothing else imports it."""
