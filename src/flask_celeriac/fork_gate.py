"""Keeps a fork from happening while another thread is inside SQLite, and from taking a file along.

A child forked at that moment would inherit SQLite's own mutexes, locked for ever. And where this
process has a file open, the child's SQLite would believe that it has it open, too: it would use its
parent's descriptors, which Celery closes in some children, and rely on locks that it does not hold
(https://sqlite.org/howtocorrupt.html, 2.6). So what is idle is closed before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds a fork waits for what other threads have begun.
PATIENCE = 5.0

_lock = threading.RLock()
_condition = threading.Condition(_lock)
_inside: dict[int, int] = {}
#: How many threads are about to fork.
_forking = 0
_before: list[Callable[[], None]] = []
_begin_child: list[Callable[[], None]] = []


def enter() -> None:
    """This thread begins to use SQLite; pair it with :func:`leave`."""
    me = threading.get_ident()
    with _lock:  # the condition's own, without a detour
        while _forking and me not in _inside:
            _condition.wait(PATIENCE)
        _inside[me] = _inside.get(me, 0) + 1


def leave() -> None:
    """This thread is done."""
    me = threading.get_ident()
    with _lock:
        left = _inside.get(me, 1) - 1
        if left:
            _inside[me] = left
            return
        _inside.pop(me, None)
        if _forking:
            _condition.notify_all()


@contextmanager
def held() -> Iterator[None]:
    """No fork during the block."""
    enter()
    try:
        yield
    finally:
        leave()


def is_inside() -> bool:
    """Whether this thread uses SQLite, and a signal handler asks that has interrupted it."""
    return threading.get_ident() in _inside


def before(callback: Callable[[], None]) -> None:
    """Have a function called before every fork, while no thread is inside SQLite.

    It is not called when that cannot be waited for, as where a thread forks in its own transaction.
    """
    _before.append(callback)


def in_child(callback: Callable[[], None]) -> None:
    """Have a function called first thing in every forked child."""
    _begin_child.append(callback)


def _before_fork() -> None:
    global _forking
    me = threading.get_ident()
    with _condition:
        _forking += 1
        _condition.wait_for(lambda: not _inside.keys() - {me}, PATIENCE)
        if _inside:
            return
        _inside[me] = 1
    try:
        for callback in _before:
            callback()
    finally:
        with _condition:
            del _inside[me]
            _condition.notify_all()


def _after_in_parent() -> None:
    global _forking
    with _condition:
        _forking -= 1
        _condition.notify_all()


def _after_in_child() -> None:
    global _condition, _forking, _lock
    _lock = threading.RLock()
    _condition = threading.Condition(_lock)
    _inside.clear()
    _forking = 0
    for callback in _begin_child:
        callback()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
