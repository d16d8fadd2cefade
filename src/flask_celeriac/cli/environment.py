"""What the children of ``flask celery dev`` get: the command, the environment, the socket."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from flask.cli import ScriptInfo

RELOADER = ("WERKZEUG_RUN_MAIN", "WERKZEUG_SERVER_FD")


def flask_command(info: ScriptInfo, typed: Sequence[str]) -> list[str]:
    """The ``flask`` command that started us, with the options it was given.

    :param info: what it knows of the application.
    :param typed: our own part of the command line, from ``celery`` on.
    """
    argv, ours = sys.argv[1:], list(typed)
    if argv[-len(ours) :] == ours:
        options = argv[: -len(ours)]
    else:
        options = ["--app", info.app_import_path] if info.app_import_path else []
    program = ["-m", "flask"] if info.create_app is None else [sys.argv[0]]
    return [sys.executable, *program, *options]


def env_files(info: ScriptInfo, command: Sequence[str]) -> list[Path]:
    """The files that flask read environment variables from, or would if they were there."""
    found = _option(command, "-e", "--env-file") or os.environ.get("FLASK_ENV_FILE")
    files = [Path(found).absolute()] if found else []
    if info.load_dotenv_defaults:
        files += [_nearest(".flaskenv"), _nearest(".env")]
    return files


def child_environment(files: Sequence[Path]) -> dict[str, str]:
    """Our environment, but for what flask read from files: a child reads them for itself.

    :param files: the files; they may be missing.
    """
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    for name in RELOADER:
        environment.pop(name, None)
    try:
        # Flask's own optional dependency: without it flask reads no files.
        dotenv = importlib.import_module("dotenv")
    except ImportError:
        return environment
    for file in files:
        if file.is_file():
            values: dict[str, str | None] = dotenv.dotenv_values(file, encoding="utf-8")
            for name, value in values.items():
                if environment.get(name) == value:
                    environment.pop(name, None)
    return environment


def listen(host: str, port: int) -> socket.socket:
    """Take the web server's address, to hold it while the server restarts.

    :raises click.ClickException: the address is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(
            f"Cannot listen on {host} port {port}: {reason}. Stop the program that uses"
            " the port, or choose another one with --port."
        ) from None


def _nearest(name: str) -> Path:
    """The file of this name in the current directory or the closest one above it."""
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / name).is_file():
            return directory / name
    return here / name


def _option(command: Sequence[str], short: str, long: str) -> str | None:
    """The value of an option in a command line."""
    for at, arg in enumerate(command):
        if arg in (short, long) and at + 1 < len(command):
            return command[at + 1]
        if arg.startswith(f"{long}="):
            return arg.partition("=")[2]
        if arg.startswith(short) and not arg.startswith("--"):
            return arg[len(short) :]
    return None
