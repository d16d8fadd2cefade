"""What can go wrong, in words that say what to do about it."""

from __future__ import annotations

import inspect
from typing import Any


class CeleriacError(Exception):
    """Something in Flask-Celeriac went wrong.

    The base of every error this package raises. A subclass raised without arguments says the
    first paragraph of its own docstring, so the docstring names the remedy.

    .. versionadded:: 0.1
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or (default_message(type(self)),)))


class ConfigError(CeleriacError):
    """The configuration cannot be used: correct the key that the message names.

    .. versionadded:: 0.1
    """


class ConfigWarning(UserWarning):
    """The configuration can be used, but probably does not say what was meant.

    .. versionadded:: 0.1
    """


class NotInitializedError(CeleriacError, RuntimeError):
    """This Flask application has no Celeriac: call ``celeriac.init_app(app)`` in its factory, or
    import ``celery_init_app`` from ``flask_celeriac`` in the place of a pasted one.

    .. versionadded:: 0.1
    """


class UnserializableArgumentError(CeleriacError, TypeError):
    """A task's argument cannot be serialized: pass an id or plain data instead of the object.

    .. versionadded:: 0.1
    """


class MessageRefusedError(CeleriacError, ValueError):
    """A task's message is too large, too deeply nested or in a format that no worker reads: pass
    the id of stored data instead of the data.

    .. versionadded:: 0.1
    """


class StorageError(CeleriacError, OSError):
    """The embedded broker's file cannot be used: see the cause for what SQLite said of it.

    An :exc:`OSError`, so that Celery's retry of a publish and a worker's reconnect treat it as
    what it is: the broker being out of reach.

    .. versionadded:: 0.1
    """


class StorageUnavailableError(StorageError):
    """The embedded broker's file cannot be used just now: try again, the message says what ails it.

    A busy file, a full disk and the like. What is only a :exc:`StorageError` stays as it is until
    somebody mends it, such as a damaged file.

    .. versionadded:: 0.1
    """


class RecordsUnavailableError(StorageError):
    """What became of a task cannot be read just now: see the cause for what its database said.

    .. versionadded:: 0.1
    """


class ResultsDisabledError(CeleriacError, NotImplementedError):
    """No result is stored: set CELERIAC_DATABASE or CELERY_RESULT_BACKEND beside the broker's URL.

    .. versionadded:: 0.1
    """


class RecordsDisabledError(CeleriacError):
    """Nothing is recorded of tasks here: set CELERIAC_DATABASE (in the environment
    FLASK_CELERIAC_DATABASE) to a database that the web server and the workers reach, as this broker
    keeps no record of them.

    .. versionadded:: 0.1
    """


class UnknownTaskError(CeleriacError, LookupError):
    """There is no task of this id: it was never sent or was discarded, or its record has been
    pruned.

    .. versionadded:: 0.1
    """


class UnknownTaskNameError(CeleriacError, LookupError):
    """There is no task of this name: import the module that declares it, or correct the name.

    .. versionadded:: 0.1
    """


class TaskStateError(CeleriacError):
    """The task's state does not allow this: look at it again, as it may have changed meanwhile.

    .. versionadded:: 0.1
    """


class InvalidRequestError(CeleriacError, ValueError):
    """What was asked for cannot be understood: correct what the message names.

    .. versionadded:: 0.1
    """


class CountChangedError(CeleriacError):
    """The number of tasks that are meant has changed: count them again before going on.

    .. versionadded:: 0.1
    """


class PartlyDoneError(StorageError):
    """Only some of many tasks were changed before the broker or the database went out of reach:
    ``outcome`` says which were sent again; choose the others when it is back.

    :param outcome: the :class:`flask_celeriac.operations.Outcome` until then

    .. versionadded:: 0.1
    """

    def __init__(self, outcome: Any, *args: object) -> None:
        self.outcome = outcome
        super().__init__(*args)


class DeadLetterError(CeleriacError):
    """A task was given up: `flask celery show` says why, `flask celery retry` sends it again.

    What ``AsyncResult(...).get()`` raises for a dead letter.

    .. versionadded:: 0.1
    """


class OutboxError(CeleriacError):
    """A task cannot be sent on commit: give ``Celeriac(session=...)`` the application's SQLAlchemy
    session, such as ``db.session``.

    .. versionadded:: 0.1
    """


def default_message(error: type[BaseException]) -> str:
    """The first paragraph of an error's docstring, on one line."""
    doc = inspect.cleandoc(error.__doc__ or error.__name__)
    return " ".join(doc.split("\n\n", 1)[0].split())
