"""One normaliser for every spelling of every Celery setting, and for our own keys.

``docs/configuration.md`` is this module in words for those who use it.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping, MutableMapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from . import config_keys as keys
from . import config_sources as sources
from .config_choices import TRANSPORT_OPTIONS, check_limits
from .config_file import find_file, load_file, names_file
from .config_mask import is_mapping, mask
from .config_sources import Given, Origin, equal
from .config_values import coerce, own_value
from .errors import ConfigWarning
from .spelling import closest

__all__ = [
    "CeleriacOptions",
    "Origin",
    "Row",
    "Settings",
    "effective",
    "load_file",
    "mask",
    "resolve",
]

#: How alike a variable is to one that Celery reads if it is taken to be that, mistyped.
_ALIKE = 0.9


@dataclass(frozen=True)
class CeleriacOptions:
    """Our own ``CELERIAC_*`` keys, validated.

    :param durability: ``"normal"`` or ``"full"``.
    :param database: an SQLAlchemy URL; None is the embedded file.
    :param url_base: the URL of the application's root, without a slash at its end.
    :param records: ``"all"``, or ``"results"`` to keep no more of a task than its result.
    :param keep_succeeded: days the record of a task that succeeded is kept for; 0 is for ever.
    :param keep_others: the same for a task that ended otherwise.
    :param keep_audit: the same for the note of a change that was made through the API.
    :param max_attempts: how often a task may be begun and cut off by the death of its process
        before it is a dead letter; 0 is as often as it takes.
    :param unknown_task_patience: seconds that a task which no worker knows is kept for one.
    :param max_message_size: bytes that the arguments of a message may take; 0 is no limit.
    :param max_message_depth: how many lists and mappings may be in each other in them; 0 is no
        limit.
    :param signing_keys: the secrets that messages are signed with: the first signs, all verify.
    :param allow_pickle: whether pickle and YAML are read where Celery's settings accept them.
    :param show_arguments: whether logs, events and ``inspect`` show the values of arguments.
    :param outbox: ``"on_commit"`` or ``"always"``.
    :param config_file: the absolute path of the file that was read.

    .. versionadded:: 0.1
    """

    durability: str = "normal"
    database: str | None = field(default=None, repr=False)
    url_base: str | None = None
    records: str = "all"
    keep_succeeded: float = 7
    keep_others: float = 30
    keep_audit: float = 365
    max_attempts: int = 5
    unknown_task_patience: float = 3600
    max_message_size: int = 4_194_304
    max_message_depth: int = 200
    signing_keys: tuple[str, ...] = field(default=(), repr=False)
    allow_pickle: bool = False
    show_arguments: bool = False
    outbox: str = "on_commit"
    config_file: str | None = None


@dataclass
class Settings:
    """What the user set, in one spelling.

    :param celery: new lower-case names and their values, ready for ``celery.conf.update``.
    :param origins: where each came from, also for the ``CELERIAC_*`` keys that were set.
    :param options: our own keys.

    .. versionadded:: 0.1
    """

    celery: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    origins: dict[str, Origin] = field(default_factory=dict[str, Origin])
    options: CeleriacOptions = field(default_factory=CeleriacOptions)


class Row(NamedTuple):
    """One line of ``flask celery config``.

    .. versionadded:: 0.1
    """

    key: str
    value: Any
    origin: str


def resolve(
    config: MutableMapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    base_dir: str | None = None,
) -> Settings:
    """Read the configuration of Celery and of this extension, whatever its spelling.

    From the weakest to the strongest: the configuration file, flat keys of ``app.config``,
    ``app.config["CELERY"]``, ``FLASK_CELERY__*`` variables, the arguments of ``init_app``, and
    the four variables that Celery itself prefers to everything (``CELERY_BROKER_URL`` and so
    on). ``config`` is only read.

    :param config: a Flask application's ``app.config``.
    :param options: the keyword arguments given to ``init_app``.
    :param environ: the environment; None is that of the process.
    :param base_dir: where a relative ``CELERIAC_CONFIG_FILE`` counts from; None is the working
        directory.
    :raises ConfigError: a value that can never work, an unknown key of ours, a file that cannot
        be read. An unknown key of Celery's and two spellings that disagree, in one place or
        both in ``app.config``, only warn, with :exc:`~flask_celeriac.ConfigWarning`.

    .. versionadded:: 0.1
    """
    environ = os.environ if environ is None else environ
    environment = sources.Environment(environ)
    flat = list(sources.read_flat(config, environment.loaded))
    section = list(sources.read_sections(config, environment.loaded))
    variables = list(environment.given())
    resolution = _Resolution()
    arguments = list(sources.read_options(options or {}))
    levels = (arguments, variables, section, flat)
    named = resolution.config_file(levels, environ, base_dir or os.getcwd())
    file = list(sources.read_file(load_file(named), _short(named))) if named else []
    for level in (file, flat, section, variables, arguments, list(sources.read_process(environ))):
        resolution.add(level)
    settings = resolution.settings()
    check_limits(settings.celery, settings.origins)
    _warn_unread(settings, environ)
    _warn_of_mistyped(settings)
    return settings


class _Resolution:
    """The levels laid over each other, the weakest first."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._origins: dict[str, Origin] = {}
        self._warned: set[str] = set()
        self._overruled: dict[str, tuple[Origin, Any]] = {}
        self._file: tuple[str, Origin] | None = None

    def config_file(
        self, levels: Iterable[list[Given]], environ: Mapping[str, str], base_dir: str
    ) -> str | None:
        """The absolute path of the configuration file, if one is named."""
        argument, from_variables, *from_config = (
            _last(level, "CELERIAC_CONFIG_FILE") for level in levels
        )
        flask_config = environ.get("FLASK_CONFIG", "")
        here = os.getcwd()
        if argument:
            return self._find(argument.value, argument.origin, base_dir, here)
        if from_variables:
            return self._find(from_variables.value, from_variables.origin, here, base_dir)
        if flask_config and names_file(flask_config, here, base_dir):
            origin = Origin("environment", "FLASK_CONFIG")
            return self._find(flask_config, origin, here, base_dir)
        for given in filter(None, from_config):
            return self._find(given.value, given.origin, base_dir, here)
        return None

    def _find(self, value: Any, origin: Origin, *bases: str) -> str | None:
        checked = own_value("config_file", value, where=str(origin))
        if checked is None:
            return None
        path = find_file(checked, *bases)
        self._file = path, origin
        return path

    def add(self, level: list[Given]) -> None:
        """Lay one level over those below it."""
        chosen: dict[str, tuple[Origin, Any]] = {}
        for given in sorted(level, key=lambda given: given.rank):
            if given.name is None:
                self._warn_unknown(given)
                if given.is_flat:
                    continue
            name = given.name or given.spelling
            value = self._convert(name, given)
            if _says_nothing(name, value):
                continue
            if name not in chosen:
                chosen[name] = (given.origin, value)
            elif not equal(chosen[name][1], value):
                _warn_conflict(name, chosen[name], (given.origin, value))
        for name, (origin, value) in chosen.items():
            below = self._origins.get(name)
            if below and (below.level, origin.level) == ("flat", "CELERY"):
                self._overruled[name] = below, self._values[name]
            self._values[name] = value
            self._origins[name] = origin

    def _convert(self, name: str, given: Given) -> Any:
        where = str(given.origin)
        if own := keys.own_key(name):
            # A secret of digits stays the text it was.
            as_text = own == "signing_keys" and given.raw is not None
            return own_value(own, given.raw if as_text else given.value, where=where)
        setting = keys.settings().get(name)
        value = given.value
        if setting is not None:
            if given.merges:
                below = self._values.get(name, setting.default)
                value = _merge(below, value)
            value = coerce(setting, value, where=where, raw=given.raw)
        return _own_copy(value)

    def settings(self) -> Settings:
        """The result: what was set, where, and our own keys."""
        celery: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for name, value in self._values.items():
            key = keys.own_key(name)
            if key is None:
                celery[name] = value
            elif value is not None:
                own[key] = value
        if self._file:
            own["config_file"], self._origins["CELERIAC_CONFIG_FILE"] = self._file
        self._warn_overruled()
        return Settings(celery, self._origins, CeleriacOptions(**own))

    def _warn_unknown(self, given: Given) -> None:
        if given.spelling not in self._warned:
            self._warned.add(given.spelling)
            hint = keys.unknown(given.spelling, flat=given.is_flat)
            warn(f"{given.origin} is unknown to Celery: {hint}")

    def _warn_overruled(self) -> None:
        """Both stand in ``app.config``; what overrides them from outside is meant to."""
        for name, loser in self._overruled.items():
            winner = self._origins[name], self._values[name]
            if winner[0].level == "CELERY" and not equal(winner[1], loser[1]):
                _warn_conflict(name, winner, loser)


def effective(settings: Settings, conf: Mapping[str, Any], *, defaults: bool = False) -> list[Row]:
    """What ``flask celery config`` prints: effective values, fit to be printed, and their origins.

    Rows are sorted by key: our own keys first, then every setting that was set somewhere or
    differs from Celery's default.

    :param conf: ``celery.conf``.
    :param defaults: also the settings that are as Celery has them.

    .. versionadded:: 0.1
    """
    rows: list[Row] = []
    for key in keys.OWN_KEYS:
        value = getattr(settings.options, key)
        name = f"CELERIAC_{key.upper()}"
        if name in settings.origins or value not in (None, ()) or defaults:
            origin = settings.origins.get(name, Origin("default", name))
            rows.append(Row(name, mask(value, key), str(origin)))
    for name in sorted({*keys.settings(), *settings.celery}):
        value, origin_text = _effective_value(name, settings, conf)
        if defaults or origin_text != _CELERYS:
            rows.append(Row(name, mask(value, name), origin_text))
    return rows


_CELERYS = str(Origin("default", "", "Celery"))


def _effective_value(name: str, settings: Settings, conf: Mapping[str, Any]) -> tuple[Any, str]:
    setting = keys.settings().get(name)
    default = setting.default if setting else None
    value = conf.get(name, default)
    if name in settings.celery:
        if settings.origins[name].level == "environment":
            return settings.celery[name], str(settings.origins[name])
        # Our own options stand beside the user's in one mapping.
        if equal(value, _merge(value, settings.celery[name])):
            return value, str(settings.origins[name])
    if equal(value, default):
        return value, _CELERYS
    if name in getattr(conf, "changes", {}):
        return value, "set on celery.conf"
    return value, str(Origin("default", name))


def _says_nothing(name: str, value: Any) -> bool:
    """Whether a URL is what ``os.environ.get`` gives for a variable that is not set.

    Without a broker nothing works, so None is no wish; without a result backend much does.
    """
    is_broker = name in ("broker_url", "broker_read_url", "broker_write_url")
    return (is_broker and not value) or (name == "result_backend" and value == "")


def _warn_unread(settings: Settings, environ: Mapping[str, str]) -> None:
    """Variables are read with Flask's prefix, and Celery's own four without one."""
    for variable in sorted(environ):
        if variable.startswith("CELERY_") and variable not in sources.PROCESS:
            close = closest(variable, sources.PROCESS, cutoff=_ALIKE)
            if close is not None:
                warn(f"environment {variable} is not read: did you mean {close}?")
        if not variable.startswith("CELERIAC_") or variable in settings.origins:
            continue
        if keys.own_key(variable) in keys.OWN_KEYS:
            warn(
                f"environment {variable} is not read: call it FLASK_{variable}, or put it into"
                " app.config"
            )


def _warn_of_mistyped(settings: Settings) -> None:
    """kombu takes no notice of transport options that it does not know, and knows many."""
    for name in ("broker_transport_options", "result_backend_transport_options"):
        for option in settings.celery.get(name) or ():
            known = option in TRANSPORT_OPTIONS
            close = None if known else closest(str(option), TRANSPORT_OPTIONS, cutoff=_ALIKE)
            if close is not None:
                warn(
                    f"{settings.origins[name]}: {name} knows no {option!r}: did you mean {close!r}?"
                )


def _last(level: list[Given], name: str) -> Given | None:
    found = sorted((given for given in level if given.name == name), key=lambda given: given.rank)
    return found[0] if found else None


def _merge(below: Any, above: Any) -> Any:
    """Mappings laid over each other, key by key; anything else is replaced."""
    if not (is_mapping(below) and is_mapping(above)):
        return above
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merge(merged.get(key), value)
    return merged


def _own_copy(value: Any) -> Any:
    """A copy of plain dicts and lists: Celery adds to them, and classes share them among apps."""
    kind = value.__class__
    if kind is dict:
        return {key: _own_copy(item) for key, item in value.items()}
    return copy(value) if kind is list else value


def _short(path: str) -> str:
    """A path as a person would write it from here."""
    try:
        return str(Path(path).relative_to(os.getcwd()))
    except ValueError:
        return path


def _warn_conflict(name: str, winner: tuple[Origin, Any], loser: tuple[Origin, Any]) -> None:
    warn(
        f"{winner[0]} = {mask(winner[1], name)!r} and {loser[0]} = {mask(loser[1], name)!r} "
        f"both give {name}: the first wins, remove the other"
    )


def warn(message: str) -> None:
    """Warn at the caller outside this package, who can change the configuration."""
    package, level = __name__.rpartition(".")[0], 1
    frame = inspect.currentframe()
    while frame and frame.f_back and frame.f_globals.get("__name__", "").startswith(package):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ConfigWarning, stacklevel=level)
