"""The system tests' application, with pool processes that take their time to start."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery.signals import worker_process_init

from flask_celeriac.broker import orphans
from tests.broker.names import SLOW_START
from tests.system.app import app

__all__ = ["app"]


def load_a_large_model(**_: object) -> None:
    Path(os.environ[SLOW_START]).touch()
    time.sleep(1.0)


# In a user's process the transport is imported last, when it is first used.
worker_process_init.disconnect(dispatch_uid="celeriac-orphans")
worker_process_init.connect(load_a_large_model)
orphans.end_with_parent()
