"""``flask celery retry``, ``revoke`` and ``discard``: for tasks by id, or all that are chosen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from .. import states
from ..records.task_record import Filter
from .choosing import chooses
from .exits import REFUSED, failure, opened
from .printing import plain, print_json
from .task_arguments import takes_arguments

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery
    from ..operations import Outcome

#: What a repetition may help, unless states are named.
_UNSUCCESSFUL = (states.FAILED, states.EXPIRED, states.DEAD)
_WAITING = (states.SCHEDULED, states.QUEUED, states.RETRYING)
#: Refusals that are printed one by one.
_TOLD = 20


@dataclass(frozen=True)
class Verb:
    """What is to be done with tasks.

    :param participle: what they are then
    :param able: the states of tasks it can be done with
    :param usual: those it is done with by filter where none are named
    :param options: of the operation
    """

    name: str
    participle: str
    able: tuple[str, ...]
    usual: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


def steers(command: Callable[..., None]) -> Callable[..., None]:
    """Add what the three commands have in common."""
    command = click.pass_context(command)
    command = click.option("--json", is_flag=True, help="Print JSON.")(command)
    command = click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command)
    command = chooses(command)
    return click.argument("ids", metavar="[ID]...", nargs=-1)(command)


@click.command("retry")
@takes_arguments
@steers
def retry(
    ctx: click.Context, *, args: list[Any] | None, kwargs: dict[str, Any] | None, **rest: Any
) -> None:
    """Send ended tasks again, each as a task of its own, and print the new ids.

    Name the tasks by ID, or choose them by options: then those that failed, expired or are dead
    are meant, unless --state says otherwise. --args and --kwargs replace what they had.
    """
    given = {"args": args, "kwargs": kwargs}
    options = {key: value for key, value in given.items() if value is not None}
    steer(ctx, Verb("retry", "retried", states.ENDED, _UNSUCCESSFUL, options), **rest)


@click.command("revoke")
@click.option("--terminate", is_flag=True, help="Stop those that run, too.")
@steers
def revoke(ctx: click.Context, *, terminate: bool, **rest: Any) -> None:
    """Take tasks back that have not ended, so that they are not begun.

    Name the tasks by ID, or choose them by options: then those that wait are meant, and with
    --terminate those that run, too.
    """
    able = states.OPEN if terminate else _WAITING
    steer(ctx, Verb("revoke", "revoked", able, able, {"terminate": terminate}), **rest)


@click.command("discard")
@steers
def discard(ctx: click.Context, **rest: Any) -> None:
    """Forget ended tasks: their records, their results and their attempts.

    Name the tasks by ID, or choose them by options.
    """
    steer(ctx, Verb("discard", "discarded", states.ENDED, states.ENDED), **rest)


def steer(
    ctx: click.Context, verb: Verb, *, ids: Sequence[str], chosen: Filter, yes: bool, json: bool
) -> None:
    """Do it with the tasks that are meant, after a question where they are not named.

    :raises click.UsageError: no task is meant, or it is not clear which
    """
    if bool(ids) == (chosen != Filter()):
        raise click.UsageError(
            f"Name the tasks to {verb.name} by id, or choose them by options such as --name and"
            " --since, one of the two"
        )
    with opened(ctx) as app:
        from .. import operations
        from ..errors import PartlyDoneError

        try:
            if ids:
                each = dict.fromkeys(ids)
                outcome = operations.apply_to_each(app, verb.name, each, **verb.options)
            else:
                outcome = _apply_to_chosen(app, verb, chosen, yes=yes, json=json)
        except PartlyDoneError as error:
            _tell(verb, error.outcome, named=bool(ids), json=json)
            raise
    _tell(verb, outcome, named=bool(ids), json=json)
    if outcome.refused:
        ctx.exit(REFUSED)


def _apply_to_chosen(
    app: FlaskCelery, verb: Verb, chosen: Filter, *, yes: bool, json: bool
) -> Outcome:
    from .. import operations

    meant = chosen.only(*(verb.able if chosen.states else verb.usual))
    if meant is None:
        raise click.UsageError(f"Only tasks that are {_any_of(verb.able)} can be {verb.participle}")
    count = operations.count_all(app, meant)
    if count.capped:
        raise failure(
            f"These are more than {count.number:,} tasks, too many at a time: choose fewer, for"
            " example with --since",
            REFUSED,
        )
    what = f"{count.number} {'task' if count.number == 1 else 'tasks'}"
    if count.number and not yes:
        if json:
            raise click.UsageError(f"{what} would be {verb.participle}: say --yes with --json")
        question = f"{verb.name.capitalize()} {what} ({', '.join(meant.states)})?"
        try:
            agreed = click.confirm(question, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            # Nobody is there to be asked.
            raise click.UsageError(f"{what} would be {verb.participle}: say --yes") from None
        if not agreed:
            raise click.Abort
    return operations.apply_to_many(app, verb.name, meant, expected=count.number, **verb.options)


def _any_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _tell(verb: Verb, outcome: Outcome, *, named: bool, json: bool) -> None:
    """Print the new ids, or how many there were; what was refused goes where errors go."""
    if json:
        print_json(asdict(outcome))
        return
    for new in outcome.made.values():
        click.echo(new)
    if not named or (outcome.done and not outcome.made):
        number = f"{outcome.done} {'task' if outcome.done == 1 else 'tasks'}"
        click.echo(f"{number} {verb.participle}", err=bool(outcome.made))
    for task_id, reason in list(outcome.refused.items())[:_TOLD]:
        said = plain(reason)
        click.echo(f"Error: {said if task_id in said else f'{task_id}: {said}'}", err=True)
    if len(outcome.refused) > _TOLD:
        click.echo(f"and {len(outcome.refused) - _TOLD} more; --json has all of them", err=True)
