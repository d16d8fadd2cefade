"""The short way to publish: a plain call of a task, without making Celery's message anew.

The first plain call of a task goes Celery's way, and the row it ends as is learned. From then on
a plain call fills that row in, as long as nothing says otherwise: other settings, a receiver of the
publishing signals, a router that looks at arguments, a task that is running. Arguments that are
refused here are refused again Celery's way, which knows how to complain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import celery
from celery.app.routes import MapRoute
from celery.backends.base import Backend
from celery.signals import after_task_publish, before_task_publish, task_sent
from kombu.exceptions import EncodeError

from . import capturing, carried, plain_json, redaction, sending
from .amqp import FlaskAMQP
from .broker import template
from .outbox.template import Template as KeptTemplate
from .task_ids import new_id

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from .broker.store import Store
    from .celery_app import FlaskCelery
    from .on_commit import OnCommit
    from .outbox.message import Packed
    from .records.reply_bell import ReplyBell
    from .task import Task

#: Calls that :func:`send_many` puts in one transaction.
BATCH = 500
#: What travels in a body for callbacks, error callbacks, chain and chord.
_NOTHING_EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_SIGNALS: tuple[Any, ...] = (before_task_publish, after_task_publish, task_sent)


@dataclass(frozen=True)
class Plan:
    """How plain calls of a task are published.

    :param store: None when they do not go into the embedded file
    :param template: None when they have to go Celery's way
    :param harmless: bytes of a body that break no limit of ``CELERIAC_MAX_MESSAGE_*``
    :param shows_arguments: whether the headers show values
    :param note: is told a task's id before it is sent
    """

    store: Store | None
    template: template.Template | KeptTemplate | None
    serializer: str
    harmless: int
    shows_arguments: bool
    ignore_result: bool
    note: Callable[[str], object] | None
    settings: dict[str, Any]
    sources: int
    process: int

    def holds(self, task: Task[..., Any]) -> bool:
        """Whether everything it was learned from is still so."""
        conf: Any = task.app.conf
        return (
            conf.changes == self.settings
            and len(conf.maps) == self.sources
            and task.ignore_result is self.ignore_result
            and os.getpid() == self.process
        )

    def row(
        self, task: Task[..., Any], call: tuple[Any, Any], task_id: str, here: dict[str, str]
    ) -> Any:
        """The message of a call: what the template makes.

        :param here: what :func:`.carried.here` says
        :raises EncodeError: an argument cannot be serialized
        :raises TypeError: its body is not as the learned one
        """
        args, kwargs = call
        body = (args, kwargs, _NOTHING_EMBEDDED)
        content_type, _, data = plain_json.serialize(body, self.serializer)
        if len(data) > self.harmless:
            cast("FlaskCelery", task.app).policy.check(task.name, data, content_type)
        fields = {
            "id": task_id,
            "args": redaction.kinds_of(args) if args else "()",
            "kwargs": redaction.kinds_of_named(kwargs) if kwargs else "{}",
            "reply_to": task.app.thread_oid,
        }
        if self.shows_arguments:
            fields["args"], fields["kwargs"] = redaction.told(
                cast("FlaskCelery", task.app), task.name, args, kwargs
            )
        fields.update(here)
        assert self.template is not None
        return self.template.make(fields, data)


def send(task: Task[..., Any], args: Any, kwargs: Any) -> AsyncResult[Any] | None:
    """Publish a plain call the short way.

    :return: None when it has to go Celery's way; nothing was sent then
    """
    here = carried.here(cast("FlaskCelery", task.app))
    plan = _plan(task, tuple(here))
    if plan is None or plan.store is None:
        return None
    task_id = new_id()
    try:
        row = plan.row(task, _checked(task, args, kwargs), task_id, here)
    except (EncodeError, TypeError):
        return None
    if plan.note is not None:
        plan.note(task_id)
    sending.store_soon(cast("FlaskCelery", task.app), plan.store.put, row)
    return _result(task, task_id, plan)


def send_learning(task: Task[..., Any], args: Any, kwargs: Any, sender: Any) -> AsyncResult[Any]:
    """Publish a plain call Celery's way, and learn from it.

    :param sender: Celery's ``apply_async``
    """
    here = carried.here(cast("FlaskCelery", task.app))
    if tuple(here) in _plans(task) or not _is_plain(task):
        result: AsyncResult[Any] = sender(args, kwargs)
        return result
    with template.recorded() as rows:
        result = sender(args, kwargs)
    store = learned = None
    if len(rows) == 1 and rows[0][1].task_id == result.id and _may_be_learned(task):
        store, row = rows[0]
        learned = template.Template.learn(row, here)
    _plans(task)[tuple(here)] = _plan_of(task, learned, store if learned else None)
    return result


def keep(
    task: Task[..., Any], call: tuple[Any, Any], sender: Any, outbox: OnCommit, session: Any = None
) -> AsyncResult[Any]:
    """Write a plain call into the outbox: the short way, or Celery's, and learn from it.

    :param call: its positional and keyword arguments
    :param sender: Celery's ``apply_async``
    :param session: the session to write through, None for the application's
    """
    here = carried.here(cast("FlaskCelery", task.app))
    key = (capturing.HEADER, *here)
    plan = _plan(task, key)
    if plan is not None and plan.template is not None:
        task_id = new_id()
        try:
            packed: Packed = plan.row(task, _checked(task, *call), task_id, here)
        except (EncodeError, TypeError):
            pass
        else:
            outbox.write(packed, session)
            return _result(task, task_id, plan)
    result: AsyncResult[Any]
    result, written = outbox.keep(lambda: sender(*call), session)
    if key not in _plans(task) and _is_plain(task):
        learned = None
        if len(written) == 1 and written[0].task_id == result.id and _may_be_learned(task):
            learned = KeptTemplate.learn(written[0], here)
        _plans(task)[key] = _plan_of(task, learned, None)
    return result


def send_many(task: Task[..., Any], calls: Iterable[Any], ids: Iterable[str] | None) -> int:
    """Publish many plain calls, some hundred in a transaction.

    :return: how many
    """
    pending = _pairs(calls, ids)
    sent = 0
    if task.unique is not None:
        return sum(
            task.apply_async(*call, task_id=task_id).id == task_id for call, task_id in pending
        )
    while batch := list(islice(pending, BATCH)):
        _send_batch(task, batch)
        sent += len(batch)
    return sent


def _send_batch(task: Task[..., Any], batch: list[tuple[tuple[Any, Any], str]]) -> None:
    outbox = getattr(task.app, "on_commit", None)
    if outbox is not None and outbox.takes_calls:
        outbox.send(lambda: [task.apply_async(*call, task_id=task_id) for call, task_id in batch])
        return
    here = carried.here(cast("FlaskCelery", task.app))
    plan = _plan(task, tuple(here))
    if plan is not None and plan.store is not None:
        try:
            rows = [plan.row(task, _checked(task, *call), task_id, here) for call, task_id in batch]
        except (EncodeError, TypeError):
            pass
        else:
            sending.store_soon(cast("FlaskCelery", task.app), plan.store.put_many, rows)
            return
    _send_batch_slowly(task, batch)


def _send_batch_slowly(task: Task[..., Any], batch: list[tuple[tuple[Any, Any], str]]) -> None:
    """Celery's way: no call of a batch is sent unless all of them can be."""
    app: Any = task.app
    if app.conf.task_always_eager:
        for (args, kwargs), task_id in batch:
            task.apply_async(args, kwargs, task_id=task_id)
        return
    try:
        with sending.producer(app) as producer, producer.batch(max_size=len(batch)):
            for (args, kwargs), task_id in batch:
                task.apply_async(args, kwargs, task_id=task_id, producer=producer)
    except BaseException:
        app.recorder.not_sent(*(task_id for _, task_id in batch))
        raise


def _pairs(
    calls: Iterable[Any], ids: Iterable[str] | None
) -> Iterator[tuple[tuple[Any, Any], str]]:
    given = iter(ids) if ids is not None else None
    for number, call in enumerate(calls):
        if isinstance(call, Mapping):
            arguments: tuple[Any, Any] = ((), dict(call))
        elif isinstance(call, Sequence) and not isinstance(call, (str, bytes)):
            arguments = (tuple(call), {})
        else:
            raise TypeError(
                f"call {number} is {call!r}: give each call's arguments as a tuple, such as"
                f" ({call!r},), or as a dict of keyword arguments"
            )
        task_id = new_id() if given is None else next(given, None)
        if task_id is None:
            raise ValueError(f"there are only {number} ids, and more calls: give one for each call")
        yield arguments, task_id


def _plans(task: Task[..., Any]) -> dict[tuple[str, ...], Plan]:
    """How plain calls are published, by the headers that the current request adds.

    Of those that are kept in the outbox, the names begin with its own header.
    """
    found: dict[tuple[str, ...], Plan] = task.__dict__.setdefault("_plans", {})
    return found


def _plan_of(task: Task[..., Any], learned: Any, store: Store | None) -> Plan:
    """What was learned of a call that has just been published."""
    conf: Any = task.app.conf
    policy = cast("FlaskCelery", task.app).policy
    bell = None if task.ignore_result else _reply_bell(task)
    return Plan(
        store=store,
        template=learned,
        serializer=task.serializer or conf.task_serializer,
        harmless=policy.harmless,
        shows_arguments=policy.show_arguments,
        ignore_result=task.ignore_result,
        note=None if bell is None else bell.note,
        settings=dict(conf.changes),
        sources=len(conf.maps),
        process=os.getpid(),
    )


def _result(task: Task[..., Any], task_id: str, plan: Plan) -> AsyncResult[Any]:
    result = task.AsyncResult(task_id)
    result.ignored = plan.ignore_result
    return result


def _plan(task: Task[..., Any], key: tuple[str, ...]) -> Plan | None:
    plans = _plans(task)
    plan = plans.get(key)
    if plan is None or not _is_plain(task):
        return None
    if not plan.holds(task):
        if plans.get(key) is plan:  # another thread may have learned anew
            plans.pop(key, None)
        return None
    return plan


def _is_plain(task: Task[..., Any]) -> bool:
    """Whether nobody has a say in what is published just now."""
    return task.app.current_worker_task is None and not any(signal.receivers for signal in _SIGNALS)


def _may_be_learned(task: Task[..., Any]) -> bool:
    """Whether the next plain call would be published just as this one was."""
    app: Any = task.app
    kind: Any = type(task)
    return (
        not (app.conf.task_always_eager or app.conf.task_send_sent_event)
        and type(app.amqp) is FlaskAMQP
        and not app.policy.signing_keys
        and all(isinstance(route, MapRoute) for route in app.amqp.routes)
        and kind.shadow_name is celery.Task.shadow_name
        and kind._dump_pydantic_arguments is None
        and (task.ignore_result or _needs_no_telling(task.backend))
    )


def _needs_no_telling(backend: Any) -> bool:
    """Whether Celery's way tells the result backend nothing of a call that is not told here."""
    return hasattr(backend, "reply_bell") or type(backend).on_task_call is Backend.on_task_call


def _reply_bell(task: Task[..., Any]) -> ReplyBell | None:
    """What is told of each call, where the results are in the embedded file."""
    found: ReplyBell | None = getattr(task.backend, "reply_bell", None)
    return found


def _checked(task: Task[..., Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments as they travel.

    :raises TypeError: the task does not take them
    """
    args, kwargs = args or (), kwargs or {}
    header = getattr(task, "__header__", None)
    if task.typing and header is not None:
        header(*args, **kwargs)
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping):
        raise TypeError
    return args, kwargs
