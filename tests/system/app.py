"""The Celery application the system tests' processes run, configured by its environment."""

from __future__ import annotations

import os

from flask_celeriac.broker import membership
from tests.system.tasks import BACKEND, LEASE, SOFT, URL, make_app

if LEASE in os.environ:
    membership.LEASE = float(os.environ[LEASE])

app = make_app(os.environ.get(BACKEND, os.environ[URL]), broker=os.environ[URL])
app.conf.worker_soft_shutdown_timeout = float(os.environ.get(SOFT, "0"))
