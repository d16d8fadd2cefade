"""What happens in the processes of a worker."""
