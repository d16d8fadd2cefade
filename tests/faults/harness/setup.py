"""What the processes of a system are told, in one variable of their environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

VARIABLE = "CELERIAC_TEST_FAULTS"


@dataclass(frozen=True)
class Setup:
    """Where a system is, and what is set in it.

    :param app: the module that has the application.
    :param broker: its broker's URL; "" is the embedded one, in ``home``.
    :param results: a result backend's URL, where the system has one of Celery's.
    :param database: where records are, for ours.
    :param celery: settings of Celery.
    :param flask: keys of ``app.config``.
    :param tasks: options of tasks, by their names.
    :param version: of the application: the second knows one more task.
    :param lease: seconds of a lease in the embedded file, if not its own.
    """

    app: str
    home: str
    broker: str = ""
    results: str | None = None
    database: str | None = None
    celery: dict[str, Any] = field(default_factory=dict)
    flask: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 1
    lease: float = 0.0

    @classmethod
    def read(cls) -> Setup:
        return cls(**json.loads(os.environ[VARIABLE]))

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}
