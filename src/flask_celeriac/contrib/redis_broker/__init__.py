"""kombu's Redis transport with claims: the same keys, and nothing lost with a worker.

A stock Celery can share the broker, as producer and as worker.
"""
