"""What the keys are called: every spelling of every Celery setting, and whose the others are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from .spelling import closest, did_you_mean

#: Our own keys, without the ``CELERIAC_`` in front.
OWN_KEYS = (
    *("durability", "database", "url_base", "records"),
    *("keep_succeeded", "keep_others", "keep_audit"),
    *("max_attempts", "unknown_task_patience"),
    *("max_message_size", "max_message_depth", "signing_keys", "allow_pickle", "show_arguments"),
    *("outbox", "config_file"),
)

# Celery's code reads these, its table of defaults does not have them.
_UNLISTED = {
    "cassandra_secure_bundle_path": "string",
    "dynamodb_endpoint_url": "string",
    "firestore_project": "string",
    "gcs_threadpool_maxsize": "int",
    "override_backends": "dict",
    "redis_backend_credential_provider": "any",
    "redis_backend_health_check_interval": "int",
    "redis_client_name": "string",
    "result_backend_thread_safe": "bool",
}

# The types of Celery's table that are not what the code behind them takes.
_KINDS = {
    "broker_heartbeat": "float",
    "broker_heartbeat_checkrate": "float",
    "broker_use_ssl": "flag or dict",
    "cassandra_auth_kwargs": "dict",
    "cassandra_port": "int",
    "task_default_delivery_mode": "any",
    "task_default_priority": "int",
    "task_default_rate_limit": "any",
    "task_queues": "dict or list",
    "worker_concurrency": "int",
    "worker_max_memory_per_child": "float",
}

# Bare upper-case names that can only be Celery's. DATABASE_URL, REDIS_HOST, S3_BUCKET, CACHE_*,
# SECURITY_* or TIMEZONE belong to the application or to another extension.
_BARE_PREFIXES = (
    *("azureblockblob_", "beat_", "broker_", "cosmosdbsql_"),
    *("result_", "task_", "worker_"),
)
_BARE_NAMES = {
    *("arangodb_backend_settings", "couchbase_backend_settings", "enable_utc"),
    "mongodb_backend_settings",
}

_CELERY_PREFIXES = ("celery_", "celeryd_", "celerybeat_", "celerymon_")

# Keys with Celery's prefix that somebody else reads.
_FOREIGN_PREFIXES = (
    *("celery_flower", "celery_log_", "celery_once", "celery_progress", "celery_rdb"),
    *("celery_task_lock_backend", "celerybeat_log_", "celerybeat_pid_", "celeryd_pid_"),
)
_FOREIGN_NAMES = {
    *("celery_app", "celery_bin", "celery_config", "celery_config_module", "celery_loader"),
    *("celery_skip_checks", "celery_task_list", "celery_workers", "celery_worker_revokes_max"),
    *("celery_custom_worker_pool", "celery_db_reuse_max", "celery_trace_app"),
    *("celery_create_dirs", "celery_create_logdir", "celery_create_rundir"),
    *("celeryd_chdir", "celeryd_group", "celeryd_log_file", "celeryd_log_level"),
    *("celeryd_multi", "celeryd_nodes", "celeryd_opts", "celeryd_user"),
    *("celerybeat_chdir", "celerybeat_opts", "celerybeat_user"),
}

# Settings that packages around Celery read from ``celery.conf``.
_PACKAGE_PREFIXES = (
    *("beat_dburi", "beat_engine_options", "beat_schema", "django_celery_", "flower_"),
    *("mongodb_scheduler_", "redbeat_", "singleton_"),
)

_REMOVED = {
    *("celery_amqp_task_result_connection_max", "celery_amqp_task_result_expires"),
    *("celery_broadcast_exchange", "celery_broadcast_exchange_type", "celery_broadcast_queue"),
    *("celery_chord_propagates", "celery_send_task_error_emails", "celery_task_error_whitelist"),
    *("celeryd_eta_scheduler", "celeryd_eta_scheduler_precision", "celeryd_force_execv"),
}


@dataclass(frozen=True)
class Setting:
    """One of Celery's settings: its new lower-case name, what it takes, Celery's default."""

    name: str
    kind: str
    default: Any
    old: tuple[str, ...]


@cache
def settings() -> dict[str, Setting]:
    """Every setting that Celery knows, by its new name."""
    from celery.app.defaults import NAMESPACES, Option, flatten

    def entry(ns: str, key: str, option: Option) -> list[Setting]:
        old = tuple(sorted(pattern.format(key).lower() for pattern in option.old))
        kind = _KINDS.get(ns + key) or _kind(option.type)
        return [Setting(ns + key, kind, option.default, old)]

    listed: Iterable[Setting] = flatten(NAMESPACES, keyfilter=entry)  # type: ignore[assignment]
    table = {setting.name: setting for setting in listed}
    for name, kind in _UNLISTED.items():
        table.setdefault(name, Setting(name, kind, None, ()))
    return table


def _kind(declared: object) -> str:
    if isinstance(declared, type):
        return declared.__name__
    return "string" if declared in ("str", "bytes") else str(declared)


@cache
def spellings() -> dict[str, str]:
    """Every spelling in lower case, and the one new name it means."""
    table: dict[str, str] = {}
    for setting in settings().values():
        for spelling in (setting.name, f"celery_{setting.name}", *setting.old):
            table[spelling] = setting.name
    return table


def new_name(spelling: str) -> str | None:
    """The new lower-case name that a spelling means, None where Celery has no such setting."""
    return spellings().get(spelling.lower())


def flat_name(key: str, *, shared_lower_case: bool = False) -> str | None:
    """The setting that a key means where it stands beside keys of other programs.

    :param shared_lower_case: whether others use lower-case keys there too. They do in a file;
        in ``app.config`` they do not, so a lower-case key was put there on purpose.
    """
    name = new_name(key)
    if name is None or not (key.islower() or key.isupper()):
        return None
    if has_celery_prefix(key) or (key.islower() and not shared_lower_case):
        return name
    return name if name.startswith(_BARE_PREFIXES) or name in _BARE_NAMES else None


def rank(spelling: str) -> int:
    """How strong a spelling is against others of its level, 0 the strongest."""
    name = new_name(spelling)
    if name is None:
        return 5
    order = (name, f"celery_{name}", f"CELERY_{name.upper()}", name.upper())
    return order.index(spelling) if spelling in order else 4


def has_celery_prefix(key: str) -> bool:
    """Whether a key claims to be Celery's."""
    return key.lower().startswith(_CELERY_PREFIXES)


def own_key(key: str) -> str | None:
    """The part after ``CELERIAC_``, in lower case; None for a key that is not ours."""
    low = key.lower()
    return low.removeprefix("celeriac_") if low.startswith("celeriac_") else None


def is_foreign(key: str) -> bool:
    """Whether another program is known to read this key in spite of its prefix."""
    low = key.lower()
    return low in _FOREIGN_NAMES or low.startswith(_FOREIGN_PREFIXES)


def package_name(key: str) -> str | None:
    """The name under which a package around Celery looks in ``celery.conf``, if it is one's."""
    low = key.lower()
    if low in ("once", "celery_once"):
        return "ONCE"
    low = low.removeprefix("celery_")
    return low if low.startswith(_PACKAGE_PREFIXES) else None


def flat_package_name(key: str, *, shared_lower_case: bool = False) -> str | None:
    """The same where the key stands beside keys of other programs."""
    if is_foreign(key) and key.lower() != "celery_once":
        return None
    meant = has_celery_prefix(key) or key.lower().startswith("redbeat_")
    return package_name(key) if meant or (key.islower() and not shared_lower_case) else None


def unknown(spelling: str, *, flat: bool) -> str:
    """What to say of a key that nobody knows."""
    if spelling.lower() in _REMOVED:
        return "Celery no longer has this setting: remove it"
    names = spellings()
    low = spelling.lower()
    if low.removeprefix("celery_") in ("broker", "backend"):
        low = "broker_url" if low.endswith("broker") else "result_backend"
    for candidate in (low, low.removeprefix("celery_"), f"task_{low.removeprefix('celery_')}"):
        close = closest(candidate, names, cutoff=0.8)
        if close:
            name = names[close]
            return f"did you mean {'CELERY_' + name.upper() if flat else name}?"
    return "Celery has no such setting: remove it, or correct its name"


def unknown_argument(key: str) -> str:
    """What to say of an argument of ``init_app`` that nobody knows."""
    otherwise = unknown(key, flat=False)
    return did_you_mean(key.lower(), OWN_KEYS, otherwise, written=str, cutoff=0.7)


def unknown_own(key: str) -> str:
    """What to say of a key with our prefix that we do not have."""
    choice = "the keys are " + ", ".join(map(_own, OWN_KEYS))
    return did_you_mean(key.lower(), OWN_KEYS, choice, written=_own, cutoff=0.5)


def _own(name: str) -> str:
    return f"CELERIAC_{name.upper()}"
