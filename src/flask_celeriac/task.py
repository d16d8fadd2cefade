"""The Task class: an application context per run, async bodies, typed calls."""

from __future__ import annotations

import functools
import inspect
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import celery
import flask
from celery.exceptions import Ignore
from celery.utils.time import get_exponential_backoff_interval
from flask.globals import app_ctx
from kombu.exceptions import EncodeError

from . import arguments, coroutines, limits, progress, publishing, uniqueness, url_base
from .capturing import OVER
from .errors import OutboxError
from .records.description import OUTER, STARTED
from .request_stack import RequestStack
from .worker import admission, limiting
from .worker.sessions import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from celery.app.task import Context
    from celery.result import AsyncResult
    from flask.ctx import AppContext
    from werkzeug.local import LocalProxy

    from .limits import Limit, Rate, Unique

    Redact = (
        Collection[str] | Callable[[list[Any], dict[str, Any]], tuple[list[Any], dict[str, Any]]]
    )

#: What marks a ``before_start`` that notes the context there is.
_NOTES = "celeriac_notes_context"

P = ParamSpec("P")
R = TypeVar("R")

#: Task options that say where a message goes.
ROUTING = ("queue", "exchange", "exchange_type", "routing_key", "delivery_mode", "priority")

#: What ``apply_async`` takes after ``kwargs``.
_POSITIONAL = ("task_id", "producer", "link", "link_error", "shadow")


class Task(celery.Task[P, R]):
    """A Celery task that runs in its Flask application's context.

    In a worker every run gets a fresh context, torn down afterwards, so that what belongs to it
    (a database session, say) is given back. Called inline (``task(...)``), with ``.apply()`` or in
    eager mode, a task stays in the caller's context if that is of the same application. The body
    may be ``async def``.

    Subclass it for ``base=``; a ``__call__`` of your own calls ``super().__call__``.

    .. versionadded:: 0.1
    """

    Strategy = "flask_celeriac.worker.strategy:default"
    Request = "flask_celeriac.worker.request:Request"

    #: Where messages go by default: what ``@celeriac.task`` was given of :data:`ROUTING`.
    routing: Mapping[str, Any] = {}
    #: Whether the HTTP API may start it.
    http = False
    #: The words by which each of them can be found among the records.
    labels: Sequence[str] = ()
    #: When it is not sent, and how many of it may run.
    unique: Unique | None = None
    concurrency: Limit | None = None
    rate: Rate | None = None
    #: Whether a run may have to wait for a limit.
    limited = False
    #: Seconds before the first repetition, doubled for each one after it, at most
    #: ``retry_backoff_max``, and chosen at random below that with ``retry_jitter``: for
    #: ``autoretry_for``, as in Celery, and for :meth:`retry` without ``countdown`` or ``eta``.
    retry_backoff: bool | float = False
    retry_backoff_max = 600
    retry_jitter = True
    #: How many of its runs may be cut off by the death of their process until it is a dead letter,
    #: 0 for any number; None is what ``CELERIAC_MAX_ATTEMPTS`` says.
    max_attempts: int | None = None
    #: Which arguments nobody is shown: names of parameters, or a function that is given the
    #: positional and the keyword arguments and returns what may be shown of them.
    redact: Redact = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Made synchronous here rather than where it is called: Celery wraps `run` for
        # `autoretry_for`, which has to see what the body raises.
        super().__init_subclass__(**kwargs)
        if inspect.isfunction(redact := cls.__dict__.get("redact")):
            cls.redact = staticmethod(redact)
        run = cls.__dict__.get("run")
        body = run.__func__ if isinstance(run, staticmethod) else run
        if inspect.iscoroutinefunction(body):
            waiting = coroutines.waiting(body)
            cls.run = staticmethod(waiting) if isinstance(run, staticmethod) else waiting  # type: ignore[method-assign]
        # A `__call__` of its own may push the context that its body is to stay in.
        if cls.__call__ is not Task.__call__ and not hasattr(cls.before_start, _NOTES):
            cls.before_start = _noting_context(cls.before_start)  # type: ignore[method-assign]

    @classmethod
    def on_bound(cls, app: celery.Celery[Any]) -> None:
        """Called when the task is bound to an application; see :meth:`celery.Task.on_bound`."""
        # Set now because Celery warns about classes that are made with these attributes.
        for name, value in cls.routing.items():
            setattr(cls, name, value)
        requests: Any = RequestStack()
        cls.request_stack = requests
        limits.settle(cls)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task's body here and now, in its application's context."""
        # Celery's tracer calls with the request already pushed; `_protected` is how Celery itself
        # marks that this has happened, so that a task calling itself is an inline call.
        request: Any = self.request_stack.top
        if request is None or request.called_directly or request._protected:
            context = self._context(None)
            if context is None:
                return super().__call__(*args, **kwargs)
            with context:
                return super().__call__(*args, **kwargs)
        request._protected = 1
        request.__dict__[STARTED] = time.time()
        held = None if request.is_eager else admission.admit(self, request)
        try:
            context = self._context(request)
            if context is None:
                return self.run(*args, **kwargs)
            with context:
                return self.run(*args, **kwargs)
        except Ignore:
            admission.leave(self, request)
            raise
        finally:
            progress.finish(self, request)
            app: Any = self.app
            session = getattr(app, "session", None)
            if session is not None and not request.is_eager:
                request.__dict__[OVER] = True
                give_back(app.flask_app, session)
            if held is not None:
                limiting.leave(self, held)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any
    ) -> AsyncResult[R]:
        """Send the task, as :meth:`celery.Task.apply_async` does.

        :param args: positional arguments, a list or tuple
        :param kwargs: keyword arguments, a mapping
        :param options: Celery's; ``labels``, a list of words that tasks can be found by; and
            ``unique=False`` to send a unique task in any case, without its key
        :raises UnserializableArgumentError: an argument cannot be serialized; nothing was sent
        :raises InvalidRequestError: the labels cannot be any; nothing was sent
        :raises ConfigError: the task is unique, and there is no place to note that
        """
        send = super().apply_async
        outbox = getattr(self.app, "on_commit", None)
        try:
            if self.unique is not None and options.get("unique", True):
                options.pop("unique", None)
                options.update(zip(_POSITIONAL, rest, strict=False))
                return uniqueness.send(self, send, args, kwargs, options)
            options.pop("unique", None)
            if rest or options:
                return send(args, kwargs, *rest, **options)
            if outbox is not None and outbox.takes_calls:
                if outbox.is_inline:
                    return send(args, kwargs)
                return publishing.keep(self, (args, kwargs), send, outbox)
            return publishing.send(self, args, kwargs) or publishing.send_learning(
                self, args, kwargs, send
            )
        except EncodeError as error:  # in eager mode, which serializes without sending
            serializer = options.get("serializer") or self.serializer
            arguments.refuse(error, self.name, args, kwargs, serializer=serializer)
            raise

    def retry(  # noqa: PLR0917 - Celery's signature
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Run again later, as :meth:`celery.Task.retry` does.

        :param countdown: seconds until then; without it and ``eta`` those of ``retry_backoff``,
            which Celery heeds for ``autoretry_for`` alone, or of ``default_retry_delay``
        """
        if eta is None and countdown is None and self.retry_backoff:
            countdown = get_exponential_backoff_interval(
                factor=max(1, int(self.retry_backoff)),
                retries=self.request.retries,
                maximum=self.retry_backoff_max,
                full_jitter=self.retry_jitter,
            )
        return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)

    def delay_on_commit(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task if and only if the session's outermost transaction is committed.

        The message is written into the application's database, by the session that
        ``Celeriac(session=...)`` was given, and sent after the commit; the broker need not be
        there. In eager mode the task runs at once.

        :return: the result to be, whose id is known now
        :raises OutboxError: there is no session to write through, or no table in its database
        :raises UnserializableArgumentError: an argument cannot be serialized

        .. versionadded:: 0.1
        """
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Any = None, kwargs: Any = None, *, session: Any = None, **options: Any
    ) -> AsyncResult[R]:
        """Send the task as :meth:`delay_on_commit` does, with options.

        :param args: positional arguments, a list or tuple
        :param kwargs: keyword arguments, a mapping
        :param session: the SQLAlchemy session that is to commit, by default that of the
            application
        :param options: as ``apply_async`` takes them; dates count from now
        :return: the result to be, whose id is known now
        :raises OutboxError: there is no session to write through, or no table in its database
        :raises UnserializableArgumentError: an argument cannot be serialized

        .. versionadded:: 0.1
        """
        outbox = getattr(self.app, "on_commit", None)
        if outbox is None:
            raise OutboxError
        if options or self.unique is not None or outbox.is_inline:
            call = functools.partial(self.apply_async, args, kwargs, **options)
            return cast("AsyncResult[R]", outbox.send(call, session))
        return publishing.keep(self, (args, kwargs), self.apply_async, outbox, session)

    def delay_many(self, calls: Iterable[Any], *, ids: Iterable[str] | None = None) -> int:
        """Send the task many times: some hundred messages in a transaction or round trip.

        Takes the calls as they come, so a million of them need no more memory than a thousand.
        If one is refused, those of its batch (500) are not sent, and the batches before it are.

        :param calls: the arguments of each call: a tuple of positional ones, or a mapping of
            keyword arguments
        :param ids: task ids of the caller's choice, one for each call
        :return: how many were sent; calls of a unique task that is there are not
        :raises TypeError: the task does not take such arguments
        :raises ValueError: there are fewer ids than calls
        :raises UnserializableArgumentError: an argument cannot be serialized

        .. versionadded:: 0.1
        """
        return publishing.send_many(self, calls, ids)

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Store a state, as :meth:`celery.Task.update_state` does: each time, at once.

        :param task_id: the task, by default the one that runs; an inline call is none, and stores
            nothing
        :param state: one of Celery's states or one of your own, such as ``"PROGRESS"``
        :param meta: what :attr:`celery.result.AsyncResult.info` shows of it; the numbers under
            ``current`` and ``total`` are the progress in the task's record, with the ``message``
        """
        if task_id is not None or self.request.id is not None:
            with progress.told(self, task_id, meta):
                super().update_state(task_id, state, meta, **kwargs)

    def _context(self, request: Context | None) -> AppContext | None:
        """The context to push for a run, or ``None`` to stay in the one there is."""
        celery_app: Any = self.app
        flask_app: flask.Flask | None = getattr(celery_app, "flask_app", None)
        if flask_app is None:
            return None
        outer = _current_context()
        if outer is not None and outer.app is flask_app:
            left_behind = (
                request is not None
                and not request.is_eager
                and request.__dict__.get(OUTER, outer) is outer
            )
            if not left_behind:
                return None
        context = flask_app.app_context()
        root = celery_app.url_base or (request and url_base.carried(request))
        if root:
            context.url_adapter = url_base.adapter(flask_app, root) or context.url_adapter
        return context


def _noting_context(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A ``before_start`` that notes what is pushed by then.

    That was left behind by something else, such as Flask's command line.
    """

    @functools.wraps(hook)
    def before_start(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.request_stack.top.__dict__[OUTER] = _current_context()
        return hook(self, *args, **kwargs)

    setattr(before_start, _NOTES, True)
    return before_start


def _current_context() -> AppContext | None:
    if not flask.has_app_context():
        return None
    return cast("LocalProxy[AppContext]", app_ctx)._get_current_object()
