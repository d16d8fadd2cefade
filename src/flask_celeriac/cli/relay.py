"""``flask celery relay``: send what was committed, outside of a worker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .exits import OUT_OF_REACH, REFUSED, failure, opened
from .moments import ago
from .printing import Column, one_line, print_json, print_table

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery

_COLUMNS = (
    Column("ID"),
    Column("TASK"),
    Column("QUEUE", droppable=1),
    Column("WRITTEN"),
    Column("REASON", shrinks=True),
)
#: What stands for all ids.
ALL = "all"


@click.command("relay")
@click.option("--once", is_flag=True, help="End when nothing is left that may be sent.")
@click.option("--dead", is_flag=True, help="List the messages that were given up.")
@click.option(
    "--retry-dead", multiple=True, metavar="ID", help="Send one of them after all; or all."
)
@click.option("--discard-dead", multiple=True, metavar="ID", help="Delete one of them; or all.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def relay(
    ctx: click.Context,
    *,
    once: bool,
    dead: bool,
    retry_dead: tuple[str, ...],
    discard_dead: tuple[str, ...],
    json: bool,
) -> None:
    """Send the tasks that were committed with the application's session, until it is stopped.

    Every worker does that, too: this is for where none runs, or for machines that reach the
    database and the broker and run no tasks.
    """
    if sum((once, dead, bool(retry_dead), bool(discard_dead))) > 1:
        raise click.UsageError(
            "--once, --dead, --retry-dead and --discard-dead do different things: give one of them"
        )
    with opened(ctx) as app:
        if dead:
            _list(app, json=json)
        elif retry_dead or discard_dead:
            _steer(app, retry_dead, discard_dead, json=json)
        elif once:
            _drain(app, json=json)
        else:
            _run(app)


def _list(app: FlaskCelery, *, json: bool) -> None:
    from .. import operations

    found = operations.list_dead(app)
    if json:
        print_json([asdict(message) for message in found])
    elif found:
        rows = [
            [m.task_id or "", m.name or "", m.queue or "", ago(m.created), one_line(m.reason)]
            for m in found
        ]
        print_table(_COLUMNS, rows)
    else:
        click.echo("No message was given up")


def _steer(
    app: FlaskCelery, retried: tuple[str, ...], discarded: tuple[str, ...], *, json: bool
) -> None:
    from .. import operations

    ids = retried or discarded
    verb = operations.retry_dead if retried else operations.discard_dead
    number = verb(app, None if ALL in ids else ids)
    if json:
        print_json({"done": number})
    else:
        some = f"{number:,} {'message' if number == 1 else 'messages'}"
        click.echo(f"{some} to be sent again" if retried else f"{some} discarded")
    if not number and ALL not in ids:
        raise failure("None of these was given up: `flask celery relay --dead` lists them", REFUSED)


def _drain(app: FlaskCelery, *, json: bool) -> None:
    """Publish until there is nothing that may be."""
    from ..operations import outbox

    relay = outbox.relay_of(app)
    published = given_up = 0
    reason = None
    while True:
        turn = relay.turn()
        published += turn.published
        given_up += turn.given_up
        reason = turn.out_of_reach
        if reason or not turn.taken:
            break
    left = outbox.count_waiting(app)
    if json:
        print_json({"published": published, "left": left, "given_up": given_up})
    else:
        click.echo(f"{published:,} published, {left:,} left")
    if reason:
        raise failure(f"The broker is out of reach: {one_line(reason)}", OUT_OF_REACH)
    if given_up:
        raise failure(f"{given_up} given up: `flask celery relay --dead` lists them", REFUSED)


def _run(app: FlaskCelery) -> None:
    """Publish until a signal says that it is enough."""
    from ..operations import outbox
    from ..worker.relay import Rounds

    url = outbox.relay_of(app).engine.url.render_as_string()
    rounds, over = Rounds(app), threading.Event()
    with _signals(over):
        click.echo(f"Relaying from {url}; stop it with Ctrl-C")
        pause = 0.0
        while not over.wait(pause):
            pause = rounds.step()


@contextmanager
def _signals(over: threading.Event) -> Generator[None]:
    """Have SIGTERM and SIGINT end the block's work, not the process."""
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, lambda *_: over.set()) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
