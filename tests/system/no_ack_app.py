"""The application of the system tests, with a queue whose messages nobody acknowledges."""

from __future__ import annotations

from kombu import Queue

from tests.system.app import app

app.conf.task_queues = [Queue("celery"), Queue("fast", no_ack=True)]
