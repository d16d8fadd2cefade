"""The Celery application of one Flask application."""

from __future__ import annotations

import inspect
import os
import weakref
from functools import cache, cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import flask
from celery import Celery
from celery.local import Proxy
from kombu.exceptions import EncodeError

from . import arguments, capturing, carried, due_dates, sending
from .errors import NotInitializedError
from .task_ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from celery.result import AsyncResult
    from kombu import Connection

    from .defaults import Layer
    from .ledgers import Ledger
    from .message_policy import MessagePolicy
    from .on_commit import OnCommit
    from .recorder import Recorder

    _Proxy = Proxy[Celery[Any]]
else:
    _Proxy = Proxy  # not subscriptable at run time

#: What ``send_task`` takes after ``kwargs``, by place or by name.
_POSITIONAL = list(inspect.signature(Celery.send_task).parameters)[4:-1]


class FlaskCelery(Celery[Any]):
    """A :class:`celery.Celery` that belongs to one Flask application.

    Its tasks run in that application's context. Made by :class:`~flask_celeriac.Celeriac`; found
    in ``app.extensions["celery"]``.

    :param main: the application's name, as Celery uses it in generated task names
    :param flask_app: the Flask application that tasks run in
    :param options: whatever :class:`celery.Celery` takes

    .. versionadded:: 0.1
    """

    task_cls = "flask_celeriac.task:Task"
    amqp_cls = "flask_celeriac.amqp:FlaskAMQP"
    events_cls = "flask_celeriac.events:FlaskEvents"
    control_cls = "flask_celeriac.control:Control"
    log_cls = "flask_celeriac.logs:WorkerLogging"

    #: The per-application state of the extension that made this application, if one did.
    celeriac: Any = None
    #: The configured base of URLs built in tasks, e.g. ``https://shop.example/app``.
    url_base: str | None = None
    #: The SQLAlchemy session that tasks use, as ``Celeriac(session=...)`` was given it.
    session: Any = None
    #: What keeps messages until that session's transaction is committed, if there is a session.
    on_commit: OnCommit | None = None
    #: Whether this process may wait for its broker and its result store: in workers and beat.
    patient = False
    #: The prefix of names in what ``config_from_object`` was given, if one was.
    namespace: str | None
    #: Whether the configuration was read.
    configured: bool
    #: Our defaults, once there is a Flask application.
    layer: Layer | None = None
    #: Those of ``broker_transport_options`` that are our defaults.
    own_transport_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, main: str | None = None, *, flask_app: flask.Flask | None = None, **options: Any
    ) -> None:
        options.setdefault("set_as_current", False)
        super().__init__(main, **options)
        self.flask_app = flask_app
        #: What is set on ``conf`` before Celery reads the rest.
        self._changes: dict[str, Any] = self.__reduce_keys__()["changes"]
        self.steps["worker"].add("flask_celeriac.worker.pool_watch:PoolWatch")
        self.steps["worker"].add("flask_celeriac.worker.chords:ChordSweep")
        self.steps["worker"].add("flask_celeriac.worker.cold:ColdStop")
        self.steps["worker"].add("flask_celeriac.worker.pruning:Pruning")
        self.steps["worker"].add("flask_celeriac.worker.patient:Patient")
        self.steps["worker"].add("flask_celeriac.worker.pauses:Pauses")
        self.steps["worker"].add("flask_celeriac.worker.scheduled:Scheduled")
        self.steps["worker"].add("flask_celeriac.worker.revoked:Revoked")
        self.steps["worker"].add("flask_celeriac.worker.slots:Slots")
        self.steps["worker"].add("flask_celeriac.worker.ends:Ends")
        self.steps["worker"].add("flask_celeriac.worker.reconciler:Reconciler")
        self.steps["worker"].add("flask_celeriac.worker.relay:Relaying")
        #: The process whose database connections are the application's.
        self.pid = os.getpid()
        #: The tasks of which it was said that a date is too far away for the broker.
        self.told: set[str] = set()

    def set_default(self) -> None:
        """Let Celery's default application follow Flask's, with this one where there is none.

        Unlike Celery's, this names no application for good: whatever asks Celery for its current
        application (``shared_task``, ``AsyncResult``, ``celery.current_app``) gets the one of
        ``flask.current_app``, in any thread, or :exc:`~flask_celeriac.errors.NotInitializedError`
        where that has none; without an application context, the one that was made or started
        last.
        """
        _remember(self)
        Celery.set_default(cast("Celery[Any]", _current_app))

    def set_current(self) -> None:
        """Let this thread's current application follow Flask's, as :meth:`set_default` does."""
        _remember(self)
        Celery.set_current(cast("Celery[Any]", _current_app))

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *positional: Any,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send a task, as :meth:`celery.Celery.send_task` does.

        :param options: Celery's; and ``labels``, a list of words that tasks can be found by
        :raises InvalidRequestError: the labels, or a date, cannot be any; nothing was sent
        :raises UnserializableArgumentError: an argument cannot be serialized; nothing was sent
        :raises MessageRefusedError: it is too large, too deep or in a format that workers do not
            read; nothing was sent
        :raises kombu.exceptions.OperationalError: the broker or the result store is out of reach,
            which it takes two seconds at most to say, but for workers and beat, who wait for them
        """
        options.update(zip(_POSITIONAL, positional, strict=False))
        options["task_id"] = str(options.get("task_id") or new_id())
        carried.carry(self, options)
        due_dates.check(name, options)
        due_dates.look(self, name, options.get("countdown"), options.get("eta"))
        try:
            if self.on_commit is not None:
                kept = self.on_commit.send_one(
                    lambda: Celery.send_task(self, name, args, kwargs, **options),
                    options,
                )
                if kept is not None:
                    return kept
                with capturing.directly():
                    return self._send_now(name, args, kwargs, **options)
            return self._send_now(name, args, kwargs, **options)
        except EncodeError as error:
            task_type = options.get("task_type") or self.tasks.get(name)
            serializer = options.get("serializer") or getattr(task_type, "serializer", None)
            arguments.refuse(
                error,
                name,
                args,
                kwargs,
                serializer=serializer or self.conf.task_serializer,
                embedded={
                    key: options.get(key) for key in ("chain", "link", "link_error", "chord")
                },
            )
            raise

    def _send_now(self, name: str, args: Any, kwargs: Any, **options: Any) -> AsyncResult[Any]:
        if self.recorder.is_needed:
            self.recorder.sent(name, args, kwargs, options)
        send = super().send_task
        try:
            if self.patient:
                return send(name, args, kwargs, **options)
            with sending.briefly(self, options):
                return send(name, args, kwargs, **options)
        except BaseException as error:
            # Of what its caller believes not to be sent, no record says that it was lost.
            if self.recorder.is_needed:
                self.recorder.call_raised(error, options)
            raise

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """A producer for a ``with`` block, as :meth:`celery.Celery.producer_or_acquire` does."""
        if producer is None and self.on_commit is not None:
            producer = self.on_commit.producer()
        return super().producer_or_acquire(producer)

    @cached_property
    def policy(self) -> MessagePolicy:
        """What this application lets into its messages."""
        from .message_policy import policy_of

        return policy_of(self)

    @cached_property
    def recorder(self) -> Recorder:
        """What records tasks before they end, where the broker does not."""
        from .recorder import Recorder

        return Recorder(self)

    @cached_property
    def ledger(self) -> Ledger:
        """Where what unique tasks and limits count is kept.

        :raises ConfigError: there is no place for it
        """
        from .ledgers import ledger_of

        return ledger_of(self)

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Connection:
        """The connection to send on, as :meth:`celery.Celery.connection_for_write` makes it.

        Where nobody has time to wait, its server has to answer within a second.
        """
        if not self.patient:
            kwargs = sending.connection_options(self, kwargs)
        return super().connection_for_write(url, **kwargs)

    def uses_utc_timezone(self) -> bool:
        """Whether its times are in UTC, as :meth:`celery.Celery.uses_utc_timezone` says.

        Workers ask for each message; Celery's answer takes a lock each time.
        """
        return self._uses_utc

    @cached_property
    def _uses_utc(self) -> bool:
        return bool(super().uses_utc_timezone())

    def prepare_config(self, c: Any) -> Any:
        """The configuration that was read, with our defaults beneath it.

        Celery makes what this returns its configuration at once, for all threads: whoever asks at
        the same time waits, and sees no configuration without our defaults.
        """
        read = super().prepare_config(c)
        return read if self.layer is None else self.layer.beneath(read, self._changes)

    def __reduce__(self) -> Any:
        return _in_this_process, (self.main,)


def find_current(wanted: Callable[[FlaskCelery], bool] = lambda app: True) -> FlaskCelery | None:
    """The application of ``flask.current_app``, else the one made or started last.

    :param wanted: consider only applications this accepts
    """
    if flask.has_app_context():
        found = flask.current_app.extensions.get("celery")
        if isinstance(found, FlaskCelery) and wanted(found):
            return found
    return next(filter(wanted, alive()), None)


def alive() -> Iterator[FlaskCelery]:
    """Every application still in use, the one made or started last first."""
    for reference in _recent[::-1]:  # a copy: other threads may add to the list
        app = reference()
        if app is not None:
            yield app


def _remember(app: FlaskCelery) -> None:
    """Make this the application that is current where no Flask application is."""
    others = [ref for ref in _recent if ref() is not None and ref() is not app]
    _recent[:] = [*others, weakref.ref(app)]


def _resolve() -> Celery[Any]:
    """The application that Celery's own current application stands for.

    :raises NotInitializedError: ``flask.current_app`` has none; another's would be the wrong one
    """
    if flask.has_app_context():
        found = flask.current_app.extensions.get("celery")
        if isinstance(found, Celery):
            return found
        raise NotInitializedError(
            f"The Flask application {flask.current_app.name!r} has no Celery: call "
            "celeriac.init_app(app) in its factory, or do this in the context of an application "
            "that has one."
        )
    return next(alive(), None) or _fallback()


@cache
def _fallback() -> Celery[Any]:
    """What Celery itself makes when it is asked for an application and there is none."""
    loader = os.environ.get("CELERY_LOADER") or "default"
    return Celery("default", fixups=[], set_as_current=False, loader=loader)


def _in_this_process(main: str | None) -> FlaskCelery:
    """Find the application again in a process that was started fresh, where Celery unpickles it.

    :raises NotInitializedError: nothing says how to make the Flask application here
    """
    for app in alive():
        if app.main == main:
            return app
    if import_path := os.environ.get("FLASK_APP"):
        from flask.cli import ScriptInfo

        found = ScriptInfo(import_path).load_app().extensions.get("celery")
        if isinstance(found, FlaskCelery):
            return found
    raise NotInitializedError(
        f"This process was started fresh and has no Flask application named {main!r}: set "
        "FLASK_APP so that it can make one, or run the worker with --pool=threads."
    )


class _CurrentApp(_Proxy):
    """Stands wherever Celery keeps its default application; true without being resolved."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


_recent: list[weakref.ref[FlaskCelery]] = []
_current_app = _CurrentApp(_resolve)
