"""A worker's log: each line once, with the task it belongs to."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from celery import current_task, signals
from celery.app.log import Logging, TaskFormatter
from celery.utils.log import ColorFormatter, get_logger, mlevel
from flask.logging import default_handler

from .config_mask import mask

if TYPE_CHECKING:
    import flask


class WorkerLogging(Logging):
    """How the processes of a worker and beat log: Celery's ``app.log``.

    Every logger's lines go to the root logger's handlers: those the user configured, or one on
    stderr (or ``--logfile``) if there are none. A line logged while a task runs begins with the
    task's name and id; handlers of the user's own find them as ``%(task_name)s`` and
    ``%(task_id)s``. Celery's signals ``setup_logging``, ``after_setup_logger`` and
    ``after_setup_task_logger`` mean what they always do.

    .. versionadded:: 0.1
    """

    def setup_logging_subsystem(
        self, loglevel: Any = None, logfile: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Set up logging once per process; the user's root handlers and level are kept."""
        if self.already_setup:
            return None
        root = logging.getLogger()
        kept = bool(root.handlers) and not self.app.conf.worker_hijack_root_logger
        level = root.level
        receivers = super().setup_logging_subsystem(loglevel, logfile, *args, **kwargs)
        if not receivers:
            if kept:
                root.setLevel(level)
                get_logger("celery").setLevel(mlevel(loglevel or self.loglevel))
            _once(getattr(self.app, "flask_app", None))
        _add_task_fields()
        policy = getattr(self.app, "policy", None)
        if policy is None or not policy.show_arguments:
            get_logger("celery.pool").addFilter(_without_arguments)
        return receivers

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str,  # noqa: A002 - Celery's name for it
        colorize: bool,
        formatter: Any = ColorFormatter,
        **kwargs: Any,
    ) -> Any:
        """Give a logger its handler, unless it has one."""
        if formatter is ColorFormatter:
            formatter = functools.partial(LineFormatter, task_format=self.task_format)
        return super().setup_handlers(
            logger, logfile, format, colorize, formatter=formatter, **kwargs
        )

    def setup_task_loggers(
        self, loglevel: Any = None, logfile: Any = None, *args: Any, **kwargs: Any
    ) -> logging.Logger:
        """Let loggers of ``get_task_logger`` log to the root logger's handlers, as others do."""
        if signals.after_setup_task_logger.receivers:
            logger: logging.Logger = super().setup_task_loggers(loglevel, logfile, *args, **kwargs)
            return logger
        logger = get_logger("celery.task")
        logger.setLevel(mlevel(loglevel or self.loglevel))
        logger.propagate = True
        return logger


class LineFormatter(ColorFormatter):
    """Formats what is logged while a task runs with the setting ``worker_task_log_format``.

    Celery's own lines about a task name it already. Passwords in URLs are masked, as an error's
    message may hold one.
    """

    def __init__(self, fmt: str, *, task_format: str, **kwargs: Any) -> None:
        super().__init__(fmt, **kwargs)
        self._in_task = TaskFormatter(task_format, **kwargs)

    def format(self, record: logging.LogRecord) -> str:
        """One line, or several if there is a traceback."""
        of_celery = record.name.startswith("celery.") and not record.name.startswith(
            ("celery.task", "celery.redirected")
        )
        if of_celery or not _running():
            return str(mask(super().format(record)))
        return str(mask(self._in_task.format(record)))


class TaskFields(logging.Filter):
    """Gives each record ``task_name`` and ``task_id``, a dash where no task runs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; let every record pass."""
        name, task_id = _running() or ("-", "-")
        record.__dict__.setdefault("task_name", name)
        record.__dict__.setdefault("task_id", task_id)
        return True


def _without_arguments(record: logging.LogRecord) -> bool:
    """What a pool says of a task that it is given, without the task's message."""
    if isinstance(record.args, tuple) and "args:" in str(record.msg):
        record.args = (record.args[0], *["..."] * (len(record.args) - 1))
    return True


def _running() -> tuple[str, str] | None:
    task: Any = current_task
    if not task or not task.request or task.request.id is None:
        return None
    return task.name, task.request.id


def _once(flask_app: flask.Flask | None) -> None:
    """Flask gives ``app.logger`` a handler where there is no other; by now there is."""
    if flask_app is not None and logging.getLogger().handlers:
        flask_app.logger.removeHandler(default_handler)


def _add_task_fields() -> None:
    named = [
        logger
        for logger in logging.getLogger().manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    ]
    for logger in (logging.getLogger(), *named):
        for handler in logger.handlers:
            if not any(isinstance(known, TaskFields) for known in handler.filters):
                handler.addFilter(TaskFields())
