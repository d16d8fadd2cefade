"""Run the data desk: web server, worker, beat and a local mail catcher, in one terminal.

    python run.py [--port 5000] [--gunicorn]

Set MAIL_SERVER (and MAIL_PORT, MAIL_USERNAME, MAIL_PASSWORD, MAIL_USE_TLS) to send real mail.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def free_port() -> int:
    """A port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refuse_taken_port(host: str, port: int) -> None:
    """End with a clear message when something listens on the port already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":
            # What a server that just ended left behind is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError:
            sys.exit(f"There is no port {port}: give one up to 65535, as in make demo PORT=5001")
        except OSError as error:
            sys.exit(
                f"Port {port} cannot be used: {error.strerror}. "
                f"Try another: make demo PORT={port + 1}"
            )


def quoted(arguments: list[str]) -> str:
    """A command line for this system's shell."""
    return shlex.join(arguments) if os.name == "posix" else subprocess.list2cmdline(arguments)


def gunicorn(host: str, port: int) -> str:
    """The web server as it would be elsewhere: two processes, and a thread for each open stream."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--workers", "2"]
    # Streams are open for minutes: a stop does not wait for their ends.
    command += ["--threads", "32", "--graceful-timeout", "2", "--no-control-socket"]
    return quoted([*command, "--bind", place, "data_desk:create_app()"])


def prepare(environ: dict[str, str], instance: Path) -> list[str]:
    """Complete the environment of all processes; return what runs beside web, worker and beat."""
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), environ.get("PYTHONPATH")]))
    environ["DATA_DESK_INSTANCE"] = str(instance)
    if environ.get("MAIL_SERVER"):
        return []
    port = str(free_port())
    environ |= {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": port}
    catcher = [sys.executable, "-m", "data_desk.mail_catcher"]
    catcher += ["--port", port, "--folder", str(instance / "mails")]
    return ["--with", f"mail={quoted(catcher)}"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the data desk.")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--gunicorn", action="store_true", help="serve with gunicorn")
    options = parser.parse_args()
    refuse_taken_port(options.host, options.port)
    environ = dict(os.environ)
    instance = Path(environ.get("DATA_DESK_INSTANCE") or HERE / "instance").absolute()
    beside = prepare(environ, instance)
    command = [sys.executable, "-m", "flask", "--app", "data_desk", "celery", "dev"]
    if options.gunicorn:
        command += ["--no-web", "--with", f"gunicorn={gunicorn(options.host, options.port)}"]
    else:
        command += ["--host", options.host, "--port", str(options.port)]
    command += beside
    os.chdir(HERE)
    if os.name == "posix":
        # In place of this process, so that Ctrl-C and a supervisor's signals reach the right one.
        os.execve(sys.executable, command, environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child stops everything, then we go
    return subprocess.run(command, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
