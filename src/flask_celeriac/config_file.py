"""Read a configuration file: YAML, JSON or TOML."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, cast

from .errors import ConfigError

_SUFFIXES = (".yaml", ".yml", ".json", ".toml")

# Flask reads these with from_pyfile; they are no data.
_CODE = (".py", ".pyc", ".cfg")


def load_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything a configuration file says, as plain data.

    The format follows the suffix: ``.json``, ``.toml``, anything else is read as YAML (its safe
    subset) or as JSON, whichever it is. An empty YAML file is an empty mapping. Give the rest of
    the file to Flask with ``app.config.from_mapping(load_file(path))``.

    :param path: the file; a relative path counts from the working directory.
    :raises ConfigError: the file is missing or unreadable, is not what its suffix says (with the
        line), or has no mapping at its top.

    .. versionadded:: 0.1
    """
    full = os.path.abspath(path)
    try:
        with open(full, "rb") as file:
            text = _decode(file.read(), full)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {full}: create it, or correct the path"
        ) from None
    except OSError as why:
        raise ConfigError(f"cannot read the configuration file {full}: {why.strerror}") from why
    suffix = os.path.splitext(full)[1].lower()
    data = _PARSERS.get(suffix, _parse_yaml)(text, full)
    if data is None and suffix not in (".json", ".toml"):
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            f"{full}: the top of a configuration file is a mapping of keys to values, "
            f"not a {type(data).__name__}"
        )
    return cast("dict[str, Any]", data)


def names_file(value: str, *bases: str) -> bool:
    """Whether an environment variable such as ``FLASK_CONFIG`` names a file of this kind.

    It does when it ends in one of the suffixes or names an existing file that is no code;
    otherwise it is the name of a configuration ("development") or of a class.
    """
    if value.lower().endswith(_SUFFIXES):
        return True
    if value.lower().endswith(_CODE):
        return False
    return any(os.path.isfile(os.path.join(base, value)) for base in bases)


def find_file(value: str, *bases: str) -> str:
    """The absolute path of a named file: in the first base that has it, else in the first base."""
    value = os.path.expanduser(value)
    paths = [os.path.abspath(os.path.join(base, value)) for base in bases]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = data.count(b"\n", 0, why.start) + 1
        raise ConfigError(
            f"{path}, line {line}: this is not UTF-8: save the file as UTF-8"
        ) from why


def _parse_yaml(text: str, path: str) -> Any:
    import yaml

    if text.lstrip().startswith("{"):
        # Nearly all JSON is YAML: not when it is indented with tabs, for example.
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as why:
        mark = why.problem_mark or why.context_mark
        raise _broken(path, "YAML", mark.line + 1 if mark else None, why.problem or "") from why
    except yaml.reader.ReaderError as why:
        line = text.count("\n", 0, why.position) + 1
        raise _broken(path, "YAML", line, why.reason) from why
    except (RecursionError, ValueError) as why:
        raise _broken(path, "YAML", None, str(why)) from why


def _parse_json(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as why:
        raise _broken(path, "JSON", why.lineno, why.msg) from why
    except (RecursionError, ValueError) as why:
        raise _broken(path, "JSON", None, str(why)) from why


def _parse_toml(text: str, path: str) -> Any:
    toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return toml.loads(text)
    except (ValueError, RecursionError) as why:
        place = re.search(r"\(at line (\d+)", str(why))
        line = int(place[1]) if place else text.count("\n") + 1
        raise _broken(path, "TOML", line, str(why)) from why


_PARSERS: dict[str, Callable[[str, str], Any]] = {".json": _parse_json, ".toml": _parse_toml}


def _broken(path: str, kind: str, line: int | None, why: str) -> ConfigError:
    where = f"{path}, line {line}" if line else path
    return ConfigError(f"{where}: this is not valid {kind}: {why}")
