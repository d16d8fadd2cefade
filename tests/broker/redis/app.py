"""The application of the worker's processes, as their environment says."""

from __future__ import annotations

from tests.broker.redis.apps import from_environment

app = from_environment()
