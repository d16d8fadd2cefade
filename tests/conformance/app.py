"""The application of the worker's processes, as their environment says."""

from __future__ import annotations

from flask_celeriac.records import chords
from flask_celeriac.worker import chords as sweep
from tests.conformance.tasks import from_environment

chords.LEASE, sweep.INTERVAL = 1.0, 0.2
app = from_environment()
