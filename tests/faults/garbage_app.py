"""The application of a worker that is fed garbage, configured by its environment."""

from __future__ import annotations

import json
import os

from flask import Flask

from tests.faults import garbage

instance_path, config = json.loads(os.environ["GARBAGE"])
app = Flask("system", instance_path=instance_path)
app.config.update({key: value for key, value in config.items() if value is not None})
garbage.celeriac.init_app(app)
celery = app.extensions["celery"]
