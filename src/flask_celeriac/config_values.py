"""Give each value the type its setting takes, and refuse the impossible while it is cheap."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlsplit

from .config_choices import CHECKS, timezone
from .config_keys import Setting
from .config_mask import mask
from .errors import ConfigError

_TRUE = {"true", "yes", "on", "1", "t", "y"}
_FALSE = {"false", "no", "off", "0", "f", "n"}
_NOTHING = {"none", "null"}


class _Unfit(ValueError):
    """The value is of no use to its setting."""


_CONTAINERS = (list, tuple, set, frozenset, Mapping)


def coerce(setting: Setting, value: Any, *, where: str, raw: str | None = None) -> Any:
    """The value in the type that Celery's code takes for this setting.

    Objects that are no plain data (queues, schedules, callables, classes, time zones) pass
    unchanged.

    :param where: the place of the value, for messages.
    :param raw: the text of an environment variable before it was read as JSON.
    :raises ConfigError: the setting can never take this value.
    """
    if value is None:
        return None
    if setting.name == "timezone":
        return timezone(value, where)
    convert = _CONVERTERS.get(setting.kind)
    if convert is None:
        return value
    if isinstance(value, str) and setting.kind != "string" and value.strip().lower() in _NOTHING:
        return None
    if setting.kind == "string" and raw is not None and _is_number(value):
        value = raw
    try:
        converted = convert(value, setting)
    except ValueError:
        shown = mask(value, setting.name)
        raise ConfigError(
            f"{where}: {setting.name} takes {_WANTED[setting.kind]}, not {shown!r}"
        ) from None
    check = CHECKS.get(setting.name)
    if check is not None and converted is not None:
        check(converted, where)
    return converted


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flag(value: Any, setting: Setting) -> Any:
    if isinstance(value, str):
        low = value.strip().lower()
        if low in _TRUE | _FALSE:
            return low in _TRUE
        raise _Unfit
    if isinstance(value, _CONTAINERS):
        raise _Unfit
    return bool(value) if isinstance(value, int) else value


def _number(value: Any, setting: Setting) -> Any:
    if isinstance(value, str):
        value = _parse_number(value)
    if isinstance(value, (*_CONTAINERS, bytes)):
        raise _Unfit
    if isinstance(value, float) and math.isnan(value):
        raise _Unfit
    if _is_negative(value) and setting.name not in _MAY_BE_NEGATIVE:
        raise _Unfit
    if setting.kind == "int" and isinstance(value, (float, timedelta)):
        return _whole(value)
    return value


#: Where a number below 0 means something.
_MAY_BE_NEGATIVE = {"result_cache_max"}


def _is_negative(value: Any) -> bool:
    return value < timedelta(0) if isinstance(value, timedelta) else _is_number(value) and value < 0


def _parse_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _whole(value: float | timedelta) -> int:
    if isinstance(value, timedelta) or not float(value).is_integer():
        raise _Unfit
    return int(value)


def _text(value: Any, setting: Setting) -> Any:
    if isinstance(value, Mapping):
        raise _Unfit
    return str(value) if _is_number(value) else value


def _mapping(value: Any, setting: Setting) -> Any:
    value = _parse_json(value) if isinstance(value, str) else value
    if value is None or isinstance(value, Mapping):
        return cast("Any", value)
    lists = setting.kind == "dict or list"
    fits = () if lists else (list, tuple, set, frozenset)
    if isinstance(value, (str, bytes)) or (isinstance(value, (int, float, *fits)) and value):
        raise _Unfit
    return cast("Any", value)


def _flag_or_mapping(value: Any, setting: Setting) -> Any:
    if isinstance(value, Mapping) or (isinstance(value, str) and value.lstrip().startswith("{")):
        return _mapping(value, setting)
    return _flag(value, setting)


def _names(value: Any, setting: Setting) -> Any:
    if isinstance(value, str):
        parsed = _parse_json(value) if value.lstrip().startswith("[") else value.split(",")
        value = [item.strip() if isinstance(item, str) else item for item in parsed]
        value = [item for item in value if item != ""]
        return tuple(value) if setting.kind == "tuple" else value
    if isinstance(value, (bool, int, float, bytes, Mapping)):
        raise _Unfit
    return value


def _anything(value: Any, setting: Setting) -> Any:
    if isinstance(value, str):
        text = value.strip()
        if text.startswith(("{", "[")):
            return _parse_json(text)
        if text.isdecimal():
            return int(text)
    return value


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError from None


_CONVERTERS: dict[str, Callable[[Any, Setting], Any]] = {
    "any": _anything,
    "bool": _flag,
    "dict": _mapping,
    "dict or list": _mapping,
    "flag or dict": _flag_or_mapping,
    "float": _number,
    "int": _number,
    "list": _names,
    "string": _text,
    "tuple": _names,
}
_WANTED = {
    "any": "JSON or plain text",
    "bool": "true or false",
    "dict": "a mapping (a JSON object)",
    "dict or list": "a mapping or a list of queues",
    "flag or dict": "true, false or a mapping (a JSON object)",
    "float": "a number of 0 or more",
    "int": "a whole number of 0 or more",
    "list": "a list (or names with commas between)",
    "string": "a text",
    "tuple": "a list (or names with commas between)",
}


#: Days in a thousand years: what is more is a mistake, such as seconds.
_LONGEST_DAYS = 365_000
_MANY = 2**40


def own_value(key: str, value: Any, *, where: str) -> Any:
    """The validated value of one of our own keys; None stands for its default.

    :param key: the key without ``CELERIAC_``, in lower case.
    :raises ConfigError: the key cannot take this value.
    """
    if value is None:
        return None
    checks: dict[str, Callable[[Any], Any]] = {
        "durability": _durability,
        "records": _records,
        "database": _database,
        "url_base": _url_base,
        "keep_succeeded": _days,
        "keep_others": _days,
        "keep_audit": _days,
        "max_attempts": _count,
        "unknown_task_patience": _seconds,
        "max_message_size": _count,
        "max_message_depth": _count,
        "signing_keys": _secrets,
        "allow_pickle": _yes_or_no,
        "show_arguments": _yes_or_no,
        "config_file": _path,
        "outbox": _outbox,
    }
    try:
        return checks[key](value)
    except ValueError as why:
        # A database's text may hold a password in a place where nobody looks for one.
        shown = "" if key in ("database", "signing_keys") else f", not {mask(value)!r}"
        raise ConfigError(f"{where}: {why}{shown}") from None


def _outbox(value: Any) -> str:
    text = str(value).strip().lower()
    if text not in ("on_commit", "always"):
        raise ValueError("the outbox is used 'on_commit' or 'always'")
    return text


def _durability(value: Any) -> str:
    low = value.strip().lower() if isinstance(value, str) else ""
    if low not in ("normal", "full"):
        raise ValueError("the durability is 'normal' or 'full'")
    return low


def _records(value: Any) -> str:
    low = value.strip().lower() if isinstance(value, str) else ""
    if low not in ("all", "results"):
        raise ValueError("the records are 'all' or 'results'")
    return low


def _database(value: Any) -> str:
    if hasattr(value, "render_as_string"):
        value = value.render_as_string(hide_password=False)
    if not isinstance(value, str) or not re.match(r"[A-Za-z][\w+.\-]*://", value.strip()):
        raise ValueError("give an SQLAlchemy URL such as 'postgresql+psycopg://user@host/name'")
    return value.strip()


def _url_base(value: Any) -> str:
    wanted = "give the URL of the application's root such as 'https://shop.example/app'"
    try:
        parts = urlsplit(value.strip() if isinstance(value, str) else "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(wanted) from None
    extra = parts.query or parts.fragment or "@" in parts.netloc
    if (
        parts.scheme not in ("http", "https")
        or not host
        or extra
        or re.search(r"\s", value.strip())
    ):
        raise ValueError(f"{wanted}, without query or user")
    return parts.geturl().rstrip("/?#")


def _days(value: Any) -> float:
    wanted = "give a number of days, 0 for ever"
    try:
        days = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    if not 0 <= days <= _LONGEST_DAYS:
        raise ValueError(wanted)
    return days


def _count(value: Any) -> int:
    wanted = "give a whole number, 0 for no limit"
    try:
        count = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    if not 0 <= count <= _MANY or count != int(count):
        raise ValueError(wanted)
    return int(count)


def _seconds(value: Any) -> float:
    wanted = "give a number of seconds"
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    if not 0 <= seconds <= _LONGEST_DAYS * 86400:
        raise ValueError(wanted)
    return seconds


def _yes_or_no(value: Any) -> bool:
    low = value.strip().lower() if isinstance(value, str) else value
    if low in (True, *_TRUE):
        return True
    if low in (False, *_FALSE):
        return False
    raise ValueError("give true or false")


#: Bytes of a secret that cannot be guessed.
_SHORTEST_SECRET = 16


def _secrets(value: Any) -> tuple[str, ...]:
    """Secrets, the newest first; a text has commas between them, or is a JSON list."""
    text = value
    if isinstance(value, str):
        value = _names(value, Setting("signing_keys", "list", None, ()))
    given: list[Any] = list(value) if isinstance(value, (list, tuple)) else [None]
    secrets = tuple(secret for secret in given if isinstance(secret, str))
    nothing_but_commas = isinstance(text, str) and "," in text and not secrets
    if len(secrets) != len(given) or nothing_but_commas:
        raise ValueError("give a list of texts, the one to sign with first")
    if any(len(secret.encode()) < _SHORTEST_SECRET for secret in secrets):
        raise ValueError(
            f"each secret takes {_SHORTEST_SECRET} bytes at least, such as"
            " `python -c 'import secrets; print(secrets.token_hex(32))'` prints"
        )
    return secrets


def _path(value: Any) -> str:
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give the path of a file")
    return value
