"""The extension: wires one Celery application to each Flask application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

import flask

from . import (
    broker,  # noqa: F401 - registers celeriac:// with kombu
    config,
    defaults,
    ledgers,
    message_policy,
    urls,
)
from .celery_app import FlaskCelery, find_current
from .cli.app_option import UserOptions
from .config_keys import OWN_KEYS
from .declaration import Declaration, Periodic, TaskProxy, declaration_of
from .errors import CeleriacError, ConfigError, NotInitializedError, OutboxError
from .globals import AppState
from .progress import progress, track
from .schedules import configured
from .schedules.entry import Expression, parse
from .worker import fork

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from typing_extensions import Unpack

    from .api.access import Access, Decided
    from .declaration import BoundTaskDecorator, TaskDecorator
    from .task import Task

P = ParamSpec("P")
R = TypeVar("R")


class Celeriac:
    """Celery for Flask applications.

    One instance serves any number of applications, made before or after the tasks that are
    declared on it. With no broker configured, tasks are kept in a file in the application's
    instance folder.

    :param app: initialise this application at once; otherwise call :meth:`init_app`
    :param session: the SQLAlchemy session that tasks use, such as Flask-SQLAlchemy's
        ``db.session`` or a :class:`sqlalchemy.orm.scoped_session`. Given back after each task,
        and renewed in each process of a worker
    :raises ConfigError: the application's configuration cannot be used

    .. versionadded:: 0.1
    """

    def __init__(self, app: flask.Flask | None = None, *, session: Any = None) -> None:
        self.session = session
        self._apps: WeakSet[FlaskCelery] = WeakSet()
        self._declarations: list[Declaration] = []
        self._periodic: list[Periodic] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask, **celery_options: Any) -> None:
        """Give a Flask application its Celery application.

        Afterwards ``app.extensions["celery"]`` is a :class:`celery.Celery`. The configuration is
        read once, here: fill ``app.config`` first.

        :param app: the Flask application
        :param celery_options: settings of Celery, stronger than those in ``app.config``
        :raises ConfigError: the configuration cannot be used
        :raises CeleriacError: the application was initialised before
        """
        self._wire(FlaskCelery(app.name, flask_app=app), app, celery_options)

    def _wire(self, celery_app: FlaskCelery, app: flask.Flask, options: dict[str, Any]) -> None:
        if "celeriac" in app.extensions:
            raise CeleriacError(
                f"The Flask application {app.name!r} has a Celeriac already: call init_app() once "
                "per application, and reach it later with flask_celeriac.current_celeriac."
            )
        if "celery" in app.extensions:
            raise CeleriacError(
                f"The Flask application {app.name!r} has another Celery in "
                f"app.extensions['celery'], {app.extensions['celery']!r}: keep only one of the two."
            )
        settings = config.resolve(app.config, options=options, base_dir=app.root_path)
        urls.check(settings)
        configured.complete(settings)
        ledgers.check(settings, [d.fun.__name__ for d in self._declarations if d.is_limited])
        ledgers.check_acks(settings, {d.fun.__name__: d.options for d in self._declarations})
        message_policy.check_settings(settings)
        for key in set(OWN_KEYS) - {"config_file", "signing_keys"}:
            app.config.setdefault(f"CELERIAC_{key.upper()}", getattr(settings.options, key))
        defaults.configure(celery_app, settings, app.instance_path)
        celery_app.url_base = settings.options.url_base
        celery_app.session = self.session
        self._open_outbox(celery_app, settings)
        state = AppState(self, celery_app, settings)
        celery_app.celeriac = state
        app.extensions["celeriac"] = state
        app.extensions["celery"] = celery_app
        if not hasattr(app, "user_options"):  # for `celery -A module` with this as its `app`
            app.user_options = UserOptions(celery_app)  # type: ignore[attr-defined]
        self._apps.add(celery_app)
        for declaration in self._declarations:
            declaration.register(celery_app)
        for periodic in self._periodic:
            periodic.add_to(celery_app)
        fork.install()
        celery_app.set_current()
        celery_app.set_default()

    def _open_outbox(self, celery_app: FlaskCelery, settings: config.Settings) -> None:
        always = settings.options.outbox == "always"
        if self.session is not None:
            from .on_commit import OnCommit  # with SQLAlchemy, which has made the session

            celery_app.on_commit = OnCommit(celery_app, self.session, always=always)
        elif always:
            raise ConfigError(
                "CELERIAC_OUTBOX = 'always' needs the session whose transactions are meant: give"
                " Celeriac(session=...) a SQLAlchemy session such as db.session"
            )

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, *, bind: Literal[True], **options: Any) -> BoundTaskDecorator: ...
    @overload
    def task(self, /, *, bind: Literal[False] = ..., **options: Any) -> TaskDecorator: ...
    def task(self, fun: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a function a task of every application this instance is initialised on.

        Works before there is any application. The task is found on ``flask.current_app`` when it
        is used, or without an application context on the application made last.

        :param options: as :meth:`celery.Celery.task` takes them: ``name``, ``bind``, ``base``,
            ``max_retries``, ``queue`` and so on
        :return: the task, or a decorator if called with options only
        """
        if fun is None:
            return lambda body: self._declare(body, options)
        return self._declare(fun, options)

    @overload
    def periodic(
        self,
        expression: Expression,
        /,
        *,
        bind: Literal[True],
        timezone: str | None = ...,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] | None = ...,
        name: str | None = ...,
        **task_options: Any,
    ) -> BoundTaskDecorator: ...
    @overload
    def periodic(
        self,
        expression: Expression,
        /,
        *,
        bind: Literal[False] = ...,
        timezone: str | None = ...,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] | None = ...,
        name: str | None = ...,
        **task_options: Any,
    ) -> TaskDecorator: ...
    def periodic(
        self,
        expression: Expression,
        /,
        *,
        timezone: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **task_options: Any,
    ) -> Any:
        """Have beat send a task by the clock; decorates a function or a task of this instance.

        :param expression: five cron fields (minute, hour, day of month, month, day of week),
            seconds, a :class:`~datetime.timedelta`, or a schedule of :mod:`celery.schedules`
        :param timezone: the zone the cron fields are read in, such as ``"Europe/Berlin"``;
            ``None`` for the setting ``timezone``
        :param args: positional arguments for the task
        :param kwargs: keyword arguments for the task
        :param name: the schedule entry's name; an entry of that name in the setting
            ``beat_schedule`` replaces this one
        :param task_options: options of the task, if a function is decorated
        :raises ConfigError: the expression or the time zone means nothing
        """
        parse(expression, timezone)

        def decorate(fun: Any) -> Any:
            task, declaration = fun, declaration_of(fun)
            if declaration is None:
                task = self._declare(fun, task_options)
                declaration = cast("Declaration", declaration_of(task))
            elif task_options:
                raise ConfigError(
                    f"{', '.join(task_options)}: options of a task go to @celeriac.task, "
                    "when @celeriac.periodic stands above it."
                )
            self._schedule(Periodic(declaration, expression, timezone, args, kwargs or {}, name))
            return task

        return decorate

    def is_unknown(self, task_id: str) -> bool:
        """Whether it is certain that there is no such task: not queued, not running, not recorded.

        :param task_id: the id a client asks about
        :return: False also where nobody can tell, such as on Redis and RabbitMQ
        :raises StorageError: the embedded queue cannot be read, or
            :class:`RecordsUnavailableError`, what is recorded cannot be read just now
        """
        from . import operations  # with SQLAlchemy, which not every program needs

        return operations.is_unknown(self._find_app(), task_id)

    def delay_on_commit(self, signature: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Send a signature, chain, group or chord if and only if the session's transaction commits.

        :param signature: such as ``chain(one.s(), two.s())``
        :param args: arguments that are put before the signature's own
        :return: the result to be, as ``signature.delay`` returns it
        :raises OutboxError: there is no session to write through, or no table in its database
        :raises UnserializableArgumentError: an argument cannot be serialized
        """
        return self.apply_async_on_commit(signature, args, kwargs)

    def apply_async_on_commit(
        self, signature: Any, args: Any = None, kwargs: Any = None, *, session: Any = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        """Send a signature as :meth:`delay_on_commit` does, with options.

        :param signature: such as ``chain(one.s(), two.s())``
        :param args: arguments that are put before the signature's own
        :param kwargs: keyword arguments besides the signature's own
        :param session: the SQLAlchemy session that is to commit, by default that of the
            application
        :param options: as ``signature.apply_async`` takes them
        :return: the result to be, as ``signature.apply_async`` returns it
        :raises OutboxError: there is no session to write through, or no table in its database
        :raises UnserializableArgumentError: an argument cannot be serialized
        """
        outbox = self._find_app().on_commit
        if outbox is None:
            raise OutboxError
        return outbox.send(lambda: signature.apply_async(args, kwargs, **options), session)

    progress = staticmethod(progress)
    track = staticmethod(track)

    def api(self, *, access: Callable[[], Access], **hooks: Unpack[Decided]) -> flask.Blueprint:
        """A blueprint with the HTTP API of the application it is registered on.

        :param access: called in each request: what whoever sent it may do
        :param hooks: ``owns``, ``limit``, ``actor``, ``streams``, ``name``; docs/http-api.md tells
            of them
        :raises ConfigError: ``access`` is no function, or ``streams`` no number
        """
        from .api.blueprint import make

        return make(self._find_app, access=access, **hooks)

    def _schedule(self, periodic: Periodic) -> None:
        if periodic.key in {known.key for known in self._periodic}:
            raise ConfigError(
                f"Two schedule entries are called {periodic.name or periodic.expression!r}: "
                "give one of them another name=."
            )
        self._periodic.append(periodic)
        for app in self._apps:
            periodic.add_to(app)

    def _declare(self, fun: Callable[..., Any], options: dict[str, Any]) -> TaskProxy:
        declaration = Declaration(fun, dict(options), self._find_app)
        self._declarations.append(declaration)
        for app in self._apps:
            declaration.register(app)
        return TaskProxy(declaration)

    def _find_app(self) -> FlaskCelery:
        if flask.has_app_context():
            found = flask.current_app.extensions.get("celery")
            if found in self._apps:
                return cast("FlaskCelery", found)
            raise NotInitializedError
        app = find_current(self._apps.__contains__)
        if app is None:
            raise NotInitializedError(
                "There is no Flask application with this Celeriac yet: call "
                "celeriac.init_app(app) before its tasks are used."
            )
        return app
