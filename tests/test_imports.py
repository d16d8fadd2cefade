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

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

allowed = set(sys.argv[1].split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed and top[0] != "_":
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Refuse())
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
    run(IMPORT_EVERYTHING, ",".join(sorted(required_modules())))


def required_modules() -> set[str]:
    """Top-level modules of what is installed when nobody asks for an extra."""
    modules = {"flask_celeriac"}
    for name in required_distributions(DISTRIBUTION):
        for file in metadata.files(name) or []:
            modules.add(file.parts[0].partition(".")[0])
    return modules


def required_distributions(name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        distribution = canonical(waiting.pop())
        if distribution in found:
            continue
        try:
            requires = metadata.requires(distribution) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(distribution)
        waiting += [requirement_name(each) for each in requires if "extra ==" not in each]
    return found


def requirement_name(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end]


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


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
