"""The application of the worker's processes, as their environment says."""

from __future__ import annotations

from tests.conformance.tasks import from_environment

app = from_environment()
