"""What importing the package loads, and that what it names in strings is there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from kombu.utils.imports import symbol_by_name
from packaging.requirements import Requirement

SOURCE = Path(__file__).resolve().parents[1] / "src"
DISTRIBUTION = "flask-celeriac"

#: Flask and Celery, and what they load themselves.
LOADED = {
    "amqp", "billiard", "blinker", "celery", "click", "dateutil", "flask", "flask_celeriac",
    "itsdangerous", "jinja2", "kombu", "markupsafe", "six", "tzlocal", "vine", "werkzeug", "yaml",
}  # fmt: skip

LIST_LOADED = """
import json, sys
before = set(sys.modules)  # an editable install and the like
import flask_celeriac
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(name for name in loaded - sys.stdlib_module_names if name[0] != "_")))
"""

REFUSE = """
import importlib, pkgutil, sys

allowed = set(sys.argv[1].split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed and top[0] != "_":
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Refuse())
"""

IMPORT_EVERYTHING = """
import flask_celeriac
for module in pkgutil.walk_packages(flask_celeriac.__path__, "flask_celeriac."):
    if not module.name.startswith("flask_celeriac.contrib"):
        importlib.import_module(module.name)
print(len(sys.modules))
"""


def run(code: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_flask_and_celery_and_little_else() -> None:
    # Compiled modules put one of them there; the others are loaded by whoever finds them.
    helpers = {"cython_runtime", "greenlet", "brotli", "_brotli", "backports"}
    assert set(json.loads(run(LIST_LOADED))) - helpers == LOADED


def test_the_command_line_loads_what_a_command_needs_when_it_runs() -> None:
    code = (
        "import flask_celeriac.cli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    assert not {"apsw", "rich", "sqlalchemy", "watchfiles"} & set(run(code).split())


def test_every_module_can_be_imported_with_the_required_dependencies_alone() -> None:
    run(REFUSE + IMPORT_EVERYTHING, ",".join(sorted(required_modules())))


@pytest.mark.parametrize(
    ("extra", "modules"),
    [
        (
            "redis",
            "kombu.transport.redis, celery.backends.redis, flask_celeriac.contrib.redis_broker",
        ),
        ("postgres", "psycopg, sqlalchemy.dialects.postgresql.psycopg"),
        ("mysql", "pymysql, sqlalchemy.dialects.mysql.pymysql"),
    ],
)
def test_an_extra_brings_all_that_its_driver_needs(extra: str, modules: str) -> None:
    run(f"{REFUSE}\nimport {modules}", ",".join(sorted(required_modules(extra))))


def required_modules(extra: str | None = None) -> set[str]:
    """Top-level modules of what is installed when somebody asks for one extra, or none."""
    modules = {"flask_celeriac"}
    for name in required_distributions(DISTRIBUTION, extra):
        for file in metadata.files(name) or []:
            modules.add(file.parts[0].partition(".")[0])
    return modules


def required_distributions(name: str, extra: str | None) -> set[str]:
    found: set[tuple[str, str | None]] = set()
    waiting = [(name, extra)]
    while waiting:
        wanted = waiting.pop()
        if wanted in found:
            continue
        try:
            requires = metadata.requires(wanted[0]) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(wanted)
        for requirement in map(Requirement, requires):
            marker = requirement.marker
            if marker is None or any(
                marker.evaluate({"extra": each or ""}) for each in (None, wanted[1])
            ):
                waiting += [(requirement.name, each) for each in (None, *requirement.extras)]
    return {name for name, _ in found}


def named_in_strings() -> Iterator[str]:
    """Strings such as ``"flask_celeriac.task:Task"``, which no import statement would check."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                module, _, name = node.value.partition(":")
                parts = [*module.split("."), *([name] if name else [])]
                dotted = len(parts) > 1 and all(part.isidentifier() for part in parts)
                if dotted and parts[0] == "flask_celeriac":
                    yield node.value


@pytest.mark.parametrize("name", sorted(set(named_in_strings())))
def test_what_is_named_in_a_string_is_there(name: str) -> None:
    symbol_by_name(name)


@pytest.mark.parametrize(
    "entry_point",
    metadata.distribution(DISTRIBUTION).entry_points,
    ids=lambda entry_point: f"{entry_point.group}-{entry_point.name}",
)
def test_entry_points_can_be_loaded(entry_point: metadata.EntryPoint) -> None:
    assert callable(entry_point.load())
