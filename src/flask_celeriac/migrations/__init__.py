"""How the tables beside the queue come from one version to the next."""
