"""Celery's result backend on Redis, for those who cannot wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from celery.backends import redis as _redis
from redis import exceptions

from .. import capturing, patience
from ..records.unreadable import UnreadableError

#: Celery's stubs know only a part of its backends.
redis: Any = _redis


class ResultStoreUnavailableError(UnreadableError, exceptions.ConnectionError):
    """What became of a task cannot be read just now: see the cause for what Redis said.

    Also an error of redis-py, for code that was written for Celery's own backend.

    .. versionadded:: 0.1
    """

    def __init__(self, *args: object) -> None:
        exceptions.ConnectionError.__init__(self, *args)


class _Backend(redis.RedisBackend):  # type: ignore[misc]
    """Waits for Redis in a worker, and says soon that it is not there to everybody else.

    .. versionadded:: 0.1
    """

    @property
    def patient(self) -> bool:
        """Whether this process has time to wait."""
        return bool(getattr(self.app, "patient", True))

    @cached_property
    def client(self) -> Any:
        """The client of redis-py, made at first use."""
        if not self.patient:
            is_set = self.app.conf.value_set_for
            if not is_set("redis_socket_timeout"):
                self.connparams["socket_timeout"] = patience.ANSWER
            if "path" not in self.connparams and not is_set("redis_socket_connect_timeout"):
                self.connparams["socket_connect_timeout"] = patience.CONNECT
        return super().client

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether to try again until Redis is there."""
        return self.patient and bool(super().exception_safe_to_retry(exc))

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Subscribe to the result of a task that is about to be sent."""
        if capturing.current() is not None:  # that is done by whoever waits for it
            return
        with self._saying_so():
            super().on_task_call(producer, task_id)

    @cached_property
    def _unsubscribed(self) -> WeakValueDictionary[int, Any]:
        """The results of captured tasks, by their identity, until somebody waits for them."""
        return WeakValueDictionary()

    def add_pending_result(
        self, result: Any, weak: bool = False, start_drainer: bool = True
    ) -> Any:
        """Subscribe to a result; to one that is not sent yet when somebody waits for it."""
        if capturing.current() is None:
            return super().add_pending_result(result, weak=weak, start_drainer=start_drainer)
        self._unsubscribed[id(result)] = result
        return result

    def iter_native(self, result: Any, no_ack: bool = True, **kwargs: Any) -> Any:
        """Wait for the results of a group."""
        self._subscribe(result)
        return super().iter_native(result, no_ack=no_ack, **kwargs)

    def _subscribe(self, result: Any) -> None:
        if self._unsubscribed.pop(id(result), None) is not None:
            self.add_pending_result(result, weak=True)
        for member in getattr(result, "results", None) or ():
            self._subscribe(member)

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Celery is about to send the members of a chord."""
        if not capturing.note_chord(header_result_args[0], header_result_args[1]):
            with self._saying_so():
                super().apply_chord(header_result_args, body, **kwargs)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Celery has counted the members of a chord."""
        if not capturing.note_size(group_id, chord_size):
            with self._saying_so():
                super().set_chord_size(group_id, chord_size)

    def get(self, key: Any) -> Any:
        """Read a key."""
        with self._saying_so():
            return super().get(key)

    def mget(self, keys: Any) -> Any:
        """Read some keys."""
        with self._saying_so():
            return super().mget(keys)

    def delete(self, key: Any) -> None:
        """Delete a key."""
        with self._saying_so():
            super().delete(key)

    def ensure(self, fun: Callable[..., Any], args: Any, **policy: Any) -> Any:
        """Do something, again and again in a worker."""
        if self.patient:
            return super().ensure(fun, args, **policy)
        with self._saying_so():
            if not patience.allows():
                raise ResultStoreUnavailableError("Redis did not answer in time")
            return fun(*args)

    @contextmanager
    def _saying_so(self) -> Iterator[None]:
        try:
            yield
        except ResultStoreUnavailableError:
            raise
        except self.connection_errors as error:
            raise ResultStoreUnavailableError(f"{self.as_uri()}: {error}") from error
        except RuntimeError as error:  # what Celery makes of it when it cannot subscribe
            cause = error.__cause__
            if isinstance(cause, ResultStoreUnavailableError):
                raise cause from cause.__cause__
            if isinstance(cause, self.connection_errors):
                raise ResultStoreUnavailableError(f"{self.as_uri()}: {cause}") from cause
            raise


class RedisBackend(_Backend):
    """The result backend behind ``redis://`` and ``rediss://``.

    .. versionadded:: 0.1
    """


class SentinelBackend(_Backend, redis.SentinelBackend):  # type: ignore[misc]
    """The result backend behind ``sentinel://``.

    .. versionadded:: 0.1
    """
