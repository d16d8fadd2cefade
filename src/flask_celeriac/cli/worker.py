"""``flask celery worker``."""

from __future__ import annotations

import copy
import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..queue_names import named_queues
from .passthrough import RawCommand, celery_context
from .pools import PoolRefused, can_fork, check_pool, default_pool

if TYPE_CHECKING:
    from celery import Celery

DETACH = ("-D", "--detach")


@click.command("worker", cls=RawCommand, add_help_option=False)
@click.pass_context
def worker(ctx: click.Context) -> None:
    """Run a Celery worker; it takes every option of Celery's own."""
    from celery.bin.worker import worker as command

    with celery_context(ctx, _extended(command)) as inner:
        celery: Celery[Any] = inner.obj.app
        if inner.params.pop("all_queues"):
            celery.loader.import_default_modules()
            inner.params["queues"] = named_queues(celery)
        if not can_fork() and not _is_given(inner, "pool"):
            _use_default_pool(inner, celery)
        if inner.params["detach"]:
            inner.exit(_detach(inner, celery))
        inner.command.invoke(inner)


def _extended(command: click.Command) -> click.Command:
    """A copy of Celery's worker command with ``--all-queues``, and with a ``-P`` that refuses in
    words what cannot work."""
    from celery.bin.base import CeleryOption
    from celery.bin.worker import WorkersPool

    command = copy.copy(command)
    command.params = [
        *command.params,
        CeleryOption(
            ["--all-queues"],
            is_flag=True,
            help="Take tasks from every queue that a setting or a task names.",
            help_group="Queue Options",
        ),
    ]
    at = next(i for i, param in enumerate(command.params) if param.name == "pool")
    option = command.params[at] = copy.copy(command.params[at])

    class Pool(WorkersPool):
        def convert(
            self, value: Any, param: click.Parameter | None, ctx: click.Context | None
        ) -> Any:
            assert ctx is not None
            asked = value if _is_given(ctx, "pool") else None
            try:
                check_pool(asked, ctx.obj.app.conf.worker_pool, fork=can_fork())
            except PoolRefused as error:
                self.fail(str(error), param, ctx)
            return super().convert(value, param, ctx)

    option.type = Pool()
    return command


def _is_given(ctx: click.Context, name: str) -> bool:
    """Whether the user gave this option, rather than a default."""
    source = ctx.get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def _use_default_pool(ctx: click.Context, celery: Celery[Any]) -> None:
    """Choose a pool where there is no fork, and say so."""
    from celery.concurrency import get_implementation

    configured = celery.conf.worker_pool
    pool = default_pool(configured, ctx.params["concurrency"], fork=False)
    if pool != configured:
        ctx.params["pool"] = get_implementation(pool)
        click.echo(
            f"Using the {pool} pool: this system cannot fork. Choose with -P solo or -P threads.",
            err=True,
        )


def _detach(ctx: click.Context, celery: Celery[Any]) -> int:
    """Run this same command again as a daemon, which Celery does with ``python -m celery``."""
    from celery.bin.worker import detach

    argv = [arg for arg in sys.argv[1:] if arg not in DETACH]
    if len(argv) == len(sys.argv[1:]):
        raise click.UsageError("Write -D (or --detach) on its own, not joined to others.", ctx)
    return detach(
        sys.executable,
        ["-m", "flask", *argv],
        workdir=os.getcwd(),
        app=celery,
        **{key: ctx.params[key] for key in _DETACH_OPTIONS},
    )


_DETACH_OPTIONS = ("logfile", "pidfile", "uid", "gid", "umask", "executable", "hostname")
