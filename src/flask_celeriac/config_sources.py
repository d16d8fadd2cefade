"""Read what each place says: one :class:`Given` for every key, with its origin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from . import config_keys as keys
from .config_mask import is_dict, is_mapping, mask
from .errors import ConfigError

#: The places of one level, the strongest first; beside them are the flat keys.
SECTIONS = ("CELERY", "CELERY_CONFIG", "CELERIAC")

#: The variables that Celery itself prefers to all configuration, and the settings they are.
PROCESS = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_BROKER_READ_URL": "broker_read_url",
    "CELERY_BROKER_WRITE_URL": "broker_write_url",
    "CELERY_RESULT_BACKEND": "result_backend",
}
_ARGUMENTS = {"broker": "broker_url", "backend": "result_backend"}


@dataclass(frozen=True)
class Origin:
    """Where an effective value came from.

    :param level: ``"default"``, ``"file"``, ``"flat"``, ``"CELERY"``, ``"FLASK_CELERY__"``,
        ``"options"`` or ``"environment"``.
    :param spelling: the key as the user wrote it, such as ``CELERY_BROKER_URL``.
    :param source: the file, or the key of ``app.config`` that holds the section.

    .. versionadded:: 0.1
    """

    level: str
    spelling: str
    source: str = ""

    def __str__(self) -> str:
        match self.level:
            case "file":
                return f"file {self.source}: {self.spelling}"
            case "flat":
                return f'app.config["{self.spelling}"]'
            case "CELERY":
                return f'app.config["{self.source}"]["{self.spelling}"]'
            case "options":
                return f"init_app({self.spelling}=...)"
            case "default":
                return f"default of {self.source or 'Flask-Celeriac'}"
            case _:
                return f"environment {self.spelling}"


@dataclass(frozen=True)
class Given:
    """A value as one place gives it.

    ``name`` is the new name, ``CELERIAC_<KEY>`` for one of ours, None for a key nobody knows.
    ``rank`` orders the spellings of one level, the lowest is the strongest. ``merges`` says that
    the value holds only some keys of a mapping. ``raw`` is the text of a variable.
    """

    name: str | None
    spelling: str
    value: Any
    origin: Origin
    rank: tuple[int, int]
    merges: bool = False
    raw: str | None = None

    @property
    def is_flat(self) -> bool:
        """Whether the key stands beside keys of other programs."""
        return self.rank[0] == len(SECTIONS)


@dataclass
class _Entry:
    value: Any
    variable: str
    merges: bool = False
    raw: str | None = None


class Environment:
    """The variables that begin with ``FLASK_``, read as ``from_prefixed_env`` reads them.

    ``loaded`` is what Flask would have put into ``app.config``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.loaded: dict[str, Any] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        for variable in sorted(environ):
            head, *path = variable.removeprefix("FLASK_").split("__")
            if variable.startswith("FLASK_") and _concerns_us(head):
                _insert(self.loaded, [head, *path], _parse(environ[variable]))
                if environ[variable]:
                    self._add(variable, head, path, environ[variable])

    def given(self) -> Iterator[Given]:
        for (section, spelling), entry in self._entries.items():
            origin = Origin("FLASK_CELERY__", entry.variable)
            yield from _read(
                spelling, entry.value, origin, section, merges=entry.merges, raw=entry.raw
            )

    def _add(self, variable: str, head: str, path: list[str], raw: str) -> None:
        value = _parse(raw)
        section = head if head in SECTIONS else ""
        if section and not path:
            for spelling, item in _mapping(value, f"environment {variable}").items():
                self._entries[section, spelling] = _Entry(item, variable)
            return
        spelling, *below = path if section else [head, *path]
        if not below:
            self._entries[section, spelling] = _Entry(value, variable, raw=raw)
            return
        old = self._entries.get((section, spelling)) or _Entry({}, variable, merges=True)
        if spelling.isupper():
            # Windows has upper-case names only, and the options of Celery are in lower case.
            below = [part.lower() if part.isupper() else part for part in below]
        if not _insert(old.value, below, value):
            raise ConfigError(
                f"environment {variable}: {old.variable} gives a value that has no keys below it: "
                "set one of the two"
            )
        self._entries[section, spelling] = _Entry(old.value, variable, merges=old.merges)


def read_file(data: Mapping[Any, Any], source: str) -> Iterator[Given]:
    """What a configuration file says of Celery and of us."""
    for key, value in data.items():
        if not isinstance(key, str):
            continue
        if key.upper() in SECTIONS:
            if key.upper() == "CELERY_CONFIG" and _is_foreign_config(value):
                continue
            for spelling, item in _mapping(value, f"file {source}: {key}").items():
                origin = Origin("file", f"{key}.{spelling}", source)
                yield from _read(spelling, item, origin, key.upper())
        else:
            yield from _read(key, value, Origin("file", key, source), "", shared=True)


def read_flat(config: Mapping[Any, Any], loaded: Mapping[str, Any]) -> Iterator[Given]:
    """The keys straight in ``app.config``, without those that came from the environment."""
    for key, value in config.items():
        if isinstance(key, str) and key not in SECTIONS and not _same(loaded, key, value):
            yield from _read(key, value, Origin("flat", key), "")


def read_sections(config: Mapping[str, Any], loaded: Mapping[str, Any]) -> Iterator[Given]:
    """``app.config["CELERY"]`` and its like, without what came from the environment."""
    for section in SECTIONS:
        value = config.get(section)
        if section == "CELERY_CONFIG" and _is_foreign_config(value):
            continue
        known = loaded.get(section)
        for spelling, item in _mapping(value, f'app.config["{section}"]').items():
            if not _same(known, spelling, item):
                origin = Origin("CELERY", spelling, section)
                yield from _read(spelling, item, origin, section)


def read_options(options: Mapping[str, Any]) -> Iterator[Given]:
    """The keyword arguments of ``init_app``.

    :raises ConfigError: an argument that nobody knows.
    """
    for key, value in options.items():
        origin = Origin("options", key)
        own = keys.own_key(key) or key
        if own in keys.OWN_KEYS:
            yield Given(f"CELERIAC_{own.upper()}", key, value, origin, (0, 0))
        elif name := _ARGUMENTS.get(key) or keys.new_name(key) or keys.package_name(key):
            yield Given(name, key, value, origin, (0, keys.rank(key)))
        else:
            raise ConfigError(f"{origin}: {keys.unknown_argument(key)}")


def read_process(environ: Mapping[str, str]) -> Iterator[Given]:
    """The variables that Celery itself prefers to all configuration."""
    for variable, name in PROCESS.items():
        if environ.get(variable):
            origin = Origin("environment", variable)
            yield Given(name, variable, environ[variable], origin, (0, 0))


def _read(
    spelling: str,
    value: Any,
    origin: Origin,
    section: str,
    *,
    shared: bool = False,
    merges: bool = False,
    raw: str | None = None,
) -> Iterator[Given]:
    """One key: a setting, one of ours, a package's, an unknown one, or nobody's business."""
    own = keys.own_key(spelling) or (spelling.lower() if section == "CELERIAC" else None)
    name: str | None
    if own is not None:
        name = _own_name(own, origin)
    elif section:
        name = keys.new_name(spelling) or keys.package_name(spelling)
        if name is None and keys.is_foreign(spelling):
            name = spelling
    else:
        name = keys.flat_name(spelling, shared_lower_case=shared)
        name = name or keys.flat_package_name(spelling, shared_lower_case=shared)
        if name is None and (keys.is_foreign(spelling) or not keys.has_celery_prefix(spelling)):
            return
    order = (SECTIONS.index(section) if section else len(SECTIONS), keys.rank(spelling))
    yield Given(name, spelling, value, origin, order, merges, raw)


def _own_name(key: str, origin: Origin) -> str:
    if key not in keys.OWN_KEYS:
        raise ConfigError(f"{origin}: {keys.unknown_own(key)}")
    if key == "config_file" and origin.level == "file":
        raise ConfigError(f"{origin}: a configuration file cannot name another one: remove it")
    return f"CELERIAC_{key.upper()}"


def _mapping(value: Any, where: str) -> dict[str, Any]:
    """A section as a dict: a mapping, a JSON object, or a module or object with attributes."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = _parse(value)
    if is_mapping(value):
        section = dict(value)
        if bad := [key for key in section if not isinstance(key, str)]:
            raise ConfigError(f"{where}: the key {bad[0]!r} is no text: put it in quotes")
        return section
    if isinstance(value, (str, bytes, int, float, list, tuple, set, frozenset)):
        raise ConfigError(
            f"{where}: give a mapping of Celery's settings (or a JSON object, or a module that "
            f"has them), not {mask(value)!r}"
        )
    names = [name for name in dir(value) if not name.startswith("_")]
    return {name: getattr(value, name) for name in names if _is_meant(name, value)}


def _is_meant(name: str, holder: object) -> bool:
    """Whether an attribute is a setting rather than something a module imported."""
    if keys.new_name(name) or keys.own_key(name) or keys.package_name(name):
        return True
    if keys.has_celery_prefix(name):
        return not isinstance(getattr(holder, name), (ModuleType, FunctionType, type))
    return False


def _is_foreign_config(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(_parse(value), dict)


def _concerns_us(head: str) -> bool:
    if head in SECTIONS or keys.own_key(head) or keys.has_celery_prefix(head):
        return True
    return bool(keys.flat_name(head) or keys.flat_package_name(head))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _insert(tree: Any, path: list[str], value: Any) -> bool:
    """Set a value under a path; False where a value on the way has no keys below it."""
    *parents, last = path
    for part in parents:
        if not is_dict(tree):
            return False
        tree = tree.setdefault(part, {})
    if not is_dict(tree):
        return False
    tree[last] = value
    return True


def _same(loaded: Any, key: str, value: Any) -> bool:
    return isinstance(loaded, Mapping) and key in loaded and equal(loaded[key], value)


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, also where comparing them is not sure to work."""
    try:
        return one is other or bool(one == other)
    except Exception:  # noqa: BLE001  # anything that a value's own comparison raises
        return False
