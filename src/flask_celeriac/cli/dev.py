"""``flask celery dev``: web, worker and beat in one terminal."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from flask.cli import ScriptInfo

from .environment import child_environment, env_files, flask_command, listen
from .output import Output, wants_color
from .pools import can_fork
from .process import WINDOWS, Program
from .supervisor import Supervisor
from .watch import Watcher, code_roots

RESERVED = ("web", "worker", "beat", "dev")
CONFIG_FILES = ("FLASK_CONFIG", "CELERIAC_CONFIG_FILE", "FLASK_CELERIAC_CONFIG_FILE")
WORKER_STOPS = (("SIGTERM", 5.0), ("SIGQUIT", 8.0))
"""Warm, then cold: a cold stop hands running tasks back to the broker, after Celery's soft shutdown."""


class DevCommand(click.Command):
    """Remembers how it was typed, to start its children in the same way."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as usual."""
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class Options:
    """The options of ``flask celery dev``."""

    host: str
    port: int
    concurrency: int
    pool: str | None
    extra: tuple[tuple[str, str], ...]
    reload: bool
    web: bool
    beat: bool
    loglevel: str


def _extra_programs(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for value in values:
        name, _, command = value.partition("=")
        if not name or not command:
            raise click.BadParameter(f"write NAME=COMMAND, not {value!r}.", ctx, param)
        if name in (*RESERVED, *(other for other, _ in pairs)):
            raise click.BadParameter(f"the name {name!r} is taken.", ctx, param)
        pairs.append((name, command))
    return tuple(pairs)


def _forkable(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value == "prefork" and not can_fork():
        raise click.BadParameter("this system cannot fork; use threads or solo.", ctx, param)
    return value


@click.command("dev", cls=DevCommand)
@click.option(
    "--host",
    "-h",
    default="127.0.0.1",
    envvar="FLASK_RUN_HOST",
    show_default=True,
    help="The interface of the web server.",
)
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=5000,
    envvar="FLASK_RUN_PORT",
    show_default=True,
    help="The port of the web server; 0 takes a free one.",
)
@click.option(
    "--concurrency",
    "-c",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many tasks the worker runs at once.",
)
@click.option(
    "--pool",
    "-P",
    type=click.Choice(["prefork", "threads", "solo"]),
    callback=_forkable,
    help="The worker's pool.  [default: as for the worker]",
)
@click.option(
    "--with",
    "extra",
    multiple=True,
    metavar="NAME=COMMAND",
    callback=_extra_programs,
    help="Run this shell command too; started again when it fails, not on a change."
    " May be given several times.",
)
@click.option(
    "--reload/--no-reload",
    default=True,
    show_default=True,
    help="Restart web, worker and beat when the code changes.",
)
@click.option("--web/--no-web", default=True, help="Whether to run the web server.")
@click.option("--beat/--no-beat", default=True, help="Whether to run beat.")
@click.option(
    "--loglevel",
    "-l",
    default="INFO",
    show_default=True,
    metavar="LEVEL",
    help="The log level of worker and beat.",
)
@click.pass_context
def dev(ctx: click.Context, /, **values: object) -> None:
    """Run the web server, a worker and beat in this terminal.

    All of them start again when the code changes. Ctrl-C stops everything; a worker gets a few
    seconds for its running tasks, and what it does not finish it runs again next time. Debug
    mode is flask's: flask --debug celery dev.
    """
    options = Options(**values)  # type: ignore[arg-type]
    info = ctx.ensure_object(ScriptInfo)
    assert ctx.parent is not None
    typed = [str(ctx.parent.info_name), str(ctx.info_name), *ctx.meta[__name__]]
    command = flask_command(info, typed)
    files = env_files(info, command)
    with _web_socket(options) as web:
        programs = _programs(options, command, child_environment(files), web)
        output = Output(
            [program.name for program in programs],
            sys.stdout.buffer,
            color=wants_color(sys.stdout),
        )
        output.say(_banner(programs, options, web))
        supervisor = Supervisor(programs, output, reloads=options.reload)
        roots = code_roots(info.app_import_path, Path.cwd())
        watcher = Watcher(
            roots, [*files, *_config_files()], supervisor.changed, supervisor.unwatched
        )
        if options.reload:
            watcher.start()
        try:
            supervisor.run()
        finally:
            watcher.stop()


@contextlib.contextmanager
def _web_socket(options: Options) -> Generator[socket.socket | None, None, None]:
    if not options.web or options.host.startswith("unix://"):
        yield None
    else:
        with listen(options.host, options.port) as web:
            yield web


def _programs(
    options: Options,
    flask: Sequence[str],
    environment: Mapping[str, str],
    web: socket.socket | None,
) -> list[Program]:
    programs: list[Program] = []
    if options.web:
        programs.append(_web(options, flask, environment, web))
    # A banner at each restart hides what matters.
    quiet = {**environment, "CELERY_QUIET": "1"}
    level = ["--loglevel", options.loglevel]
    worker = [*flask, "celery", "worker", *level, "--concurrency", str(options.concurrency)]
    # Mingling waits a second for neighbours that are not there.
    worker += ["--all-queues", "--without-mingle"]
    if options.pool:
        worker += ["--pool", options.pool]
    programs.append(Program("worker", worker, quiet, stops=WORKER_STOPS))
    if options.beat:
        programs.append(Program("beat", [*flask, "celery", "beat", *level], quiet))
    for name, text in options.extra:
        programs.append(Program(name, text, environment, reloads=False))
    return programs


def _web(
    options: Options,
    flask: Sequence[str],
    environment: Mapping[str, str],
    web: socket.socket | None,
) -> Program:
    """Flask's server, as the child of a reloader: it takes our socket, and an application that
    cannot be imported becomes an error page instead of an exit."""
    port = web.getsockname()[1] if web else options.port
    argv = [*flask, "run", "--no-reload", "--host", options.host, "--port", str(port)]
    if web is None:
        return Program("web", argv, environment)
    if WINDOWS:
        # No file descriptor can be passed on there: we only looked whether the port is free.
        web.close()
        return Program("web", argv, environment)
    fd = web.fileno()
    environment = {**environment, "WERKZEUG_RUN_MAIN": "true", "WERKZEUG_SERVER_FD": str(fd)}
    return Program("web", argv, environment, pass_fds=(fd,))


def _banner(programs: Sequence[Program], options: Options, web: socket.socket | None) -> str:
    text = ", ".join(program.name for program in programs)
    if web is not None and web.fileno() >= 0:
        scheme = "https" if os.environ.get("FLASK_RUN_CERT") else "http"
        host = f"[{options.host}]" if ":" in options.host else options.host
        text = f"{scheme}://{host}:{web.getsockname()[1]} ({text})"
    return f"{text}; Ctrl-C stops all"


def _config_files() -> list[Path]:
    """The configuration files that the environment names; they may have any suffix."""
    named = (os.environ.get(name) for name in CONFIG_FILES)
    return [Path(name).absolute() for name in named if name and Path(name).is_file()]
