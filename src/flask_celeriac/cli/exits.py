"""How a command that speaks of tasks begins, and with which exit code it ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .loading import load_app, load_celery, not_initialized

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery

#: It was refused, or there is no such task, or only a part of it could be done.
REFUSED = 1
#: It cannot be understood; Click's own code.
USAGE = 2
#: The broker or the database is out of reach.
OUT_OF_REACH = 3
#: The task that was waited for did not succeed.
NOT_SUCCEEDED = 4
#: It has not ended in time.
NOT_ENDED = 5


@contextmanager
def opened(ctx: click.Context) -> Generator[FlaskCelery]:
    """Give the application's Celery, in its application context; what goes wrong is one line."""
    from ..celery_app import FlaskCelery

    found = load_celery(ctx)
    if not isinstance(found, FlaskCelery):
        raise click.ClickException(not_initialized())
    found.loader.import_default_modules()
    found.finalize()
    with load_app(ctx).app_context(), told():
        yield found


@contextmanager
def told() -> Generator[None]:
    """Tell errors that may be expected in one line, with the exit code that says what they are."""
    from kombu.exceptions import OperationalError

    from .. import database
    from ..errors import CeleriacError, InvalidRequestError, StorageError

    try:
        yield
    except InvalidRequestError as error:
        raise _failure(error, USAGE) from error
    except StorageError as error:
        raise _failure(error, OUT_OF_REACH) from error
    except CeleriacError as error:
        raise _failure(error, REFUSED) from error
    except (OperationalError, *database.OUT_OF_REACH, OSError) as error:
        # SQLAlchemy wraps what the driver said in many lines.
        words = str(getattr(error, "orig", None) or error).split() or [type(error).__name__]
        said = " ".join(words).rstrip(".?")
        raise failure(
            f"Broker or database out of reach: {said}; `flask celery config` says which are meant",
            OUT_OF_REACH,
        ) from error


def _failure(error: Exception, code: int) -> click.ClickException:
    return failure(str(error).replace("``", ""), code)


def failure(message: str, code: int) -> click.ClickException:
    """An error that is told in one line, and ends the command with this exit code."""
    error = click.ClickException(message)
    setattr(error, "exit_code", code)  # noqa: B010 - typed as one for the whole class
    return error
