"""Tasks declared on a Celeriac, before there is any application to register them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload
from weakref import WeakKeyDictionary

from celery.local import Proxy
from werkzeug.local import LocalProxy

from . import limits, redaction, task_options
from .errors import ConfigError
from .schedules.entry import Expression, parse
from .task import ROUTING, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from .celery_app import FlaskCelery

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator(Protocol):
    """What ``@celeriac.task(...)`` is: a function in, a typed task out."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundTaskDecorator(Protocol):
    """What ``@celeriac.task(bind=True, ...)`` is: the task's own parameter is not the caller's."""

    @overload
    def __call__(
        self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> Task[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


class Declaration:
    """A function that is a task on every application of one Celeriac.

    :param fun: the task's body
    :param options: task options, as :meth:`celery.Celery.task` takes them
    :param find_app: the application the task belongs to where it is used
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        options: dict[str, Any],
        find_app: Callable[[], FlaskCelery],
    ) -> None:
        if issubclass(type(fun), (Proxy, LocalProxy)):
            raise ConfigError(
                "What is decorated here is a task already: put @celeriac.task, not @shared_task "
                "or @celery.task, on the function itself."
            )
        task_options.check(fun.__name__, options)
        self.fun = fun
        self.routing = {name: options.pop(name) for name in ROUTING if name in options}
        self.options = limits.normalised(options)
        if self.options.get("redact"):
            given = self.options["redact"]
            self.options["redact"] = redaction.normalised(fun.__name__, fun, given)
        self.is_limited = any(self.options.get(name) is not None for name in limits.OPTIONS)
        if self.is_limited:
            limits.check_names(fun.__name__, fun, self.options)
        self.find_app = find_app
        self._names: WeakKeyDictionary[FlaskCelery, str] = WeakKeyDictionary()

    def name_on(self, app: FlaskCelery) -> str:
        """The task's name on an application."""
        name = self._names.get(app)
        if name is None:
            given: str | None = self.options.get("name")
            name = given or app.gen_task_name(self.fun.__name__, self.fun.__module__)
            self._names[app] = name
        return name

    def register(self, app: FlaskCelery) -> None:
        """Make it a task of an application, once that application knows its Task class."""
        decorate: Any = app.task(shared=False, routing=self.routing, **self.options)
        decorate(self.fun)

    def __call__(self) -> Task[..., Any]:
        """The task on the application that is current."""
        app = self.find_app()
        task: Any = app.tasks[self.name_on(app)]
        if self.routing and not isinstance(task, Task):  # the user's celery.Task or base=
            for name, value in self.routing.items():
                setattr(type(task), name, value)
        if self.is_limited and not isinstance(task, Task):
            raise ConfigError(
                f"{task.name}: unique=, concurrency= and rate= need a base= that is a subclass of"
                " flask_celeriac.Task."
            )
        return cast("Task[..., Any]", task)


@dataclass(frozen=True)
class Periodic:
    """A schedule entry on every application of one Celeriac, as ``@celeriac.periodic`` took it."""

    declaration: Declaration
    expression: Expression
    timezone: str | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    name: str | None

    @property
    def key(self) -> object:
        """What tells one entry from another before there is an application."""
        return self.name or (self.declaration, str(self.expression))

    def add_to(self, app: FlaskCelery) -> None:
        """Add the schedule entry, unless the application's configuration has one of that name."""
        task = self.declaration.name_on(app)
        name = self.name or f"{task} ({self.expression})"
        if name not in app.celeriac.settings.celery.get("beat_schedule", ()):
            schedule, signature = parse(self.expression, self.timezone), app.signature(task)
            args, kwargs = tuple(self.args), dict(self.kwargs)
            app.add_periodic_task(schedule, signature, args, kwargs, name=name)


# What the decorator returns: the current application's task, found when it is used.
class TaskProxy(LocalProxy[Any]):  # noqa: D101 - its docstring is the task's
    __slots__ = ("_declaration",)
    __doc__ = LocalProxy.__dict__["__doc__"]

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        object.__setattr__(self, "_declaration", declaration)

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()


def declaration_of(task: object) -> Declaration | None:
    """What a decorator's result was made of, or ``None`` for any other object."""
    if type(task) is not TaskProxy:
        return None
    found: Declaration = object.__getattribute__(task, "_declaration")
    return found
