"""Make ``.venv`` and install the locked dependencies and this package into it.

Called by the Makefile with whatever ``python3`` was found. What is installed is remembered by the
content of the files that decide it, so a second call costs nothing and a branch switch that
changes nothing costs nothing either. An old Python must be able to read this far: no newer syntax.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 10)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
STAMP = VENV / ".installed"
LOG = VENV / "install.log"
INPUTS = ("requirements.lock", "pyproject.toml", "scripts/setup_venv.py")
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install")


def main() -> None:
    wanted = fingerprint()
    if works(PYTHON) and STAMP.exists() and STAMP.read_text() == wanted:
        STAMP.touch()
        return
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"Flask-Celeriac needs Python 3.10 or newer, but {sys.executable} is {found}. "
            "Name another one: make PYTHON=python3.12 ..."
        )
    if not works(PYTHON):
        create()
    STAMP.unlink(missing_ok=True)
    lock = ROOT / "requirements.lock"
    count = sum(line[:1].isalnum() for line in lock.read_text().splitlines())
    say(f"Installing {count} locked packages into .venv (about a minute the first time) ...")
    LOG.write_text("")
    # The lock is complete, so there is nothing to resolve.
    install("--no-deps", "--requirement", str(lock))
    install("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(wanted)
    say("Installed.")


def fingerprint() -> str:
    digest = hashlib.sha256()
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def works(python: Path) -> bool:
    """Whether a virtual environment is there and still runs: its base Python may have gone."""
    if not python.exists():
        return False
    done = subprocess.run([str(python), "-c", "import pip"], capture_output=True, check=False)
    return done.returncode == 0


def create() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    say(f"Making .venv with {sys.executable} ...")
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.stderr.write(done.stdout.decode(errors="replace"))
        sys.exit(
            f"{sys.executable} could not make a virtual environment. "
            "On Debian and Ubuntu: apt-get install python3-venv"
        )


def install(*args: str) -> None:
    """Run pip, show how far it is, and keep what it said for the day it fails."""
    command = [str(PYTHON), *PIP, "--progress-bar", "off", *args]
    done = 0
    with LOG.open("a") as log:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert pip.stdout is not None
        for line in pip.stdout:
            if line.startswith("Ignoring "):
                continue  # a package for another platform
            log.write(line)
            if line.startswith("Collecting "):
                done += 1
                progress(f"  {done:3} {line.split()[1]}")
            elif line.startswith("Installing collected packages"):
                progress("  unpacking")
    progress("")
    if pip.wait() != 0:
        sys.stderr.write("".join(LOG.read_text().splitlines(keepends=True)[-30:]))
        sys.exit(f"pip could not install what is needed; all it said is in {LOG}")


def progress(text: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{text[:76]}")
        sys.stdout.flush()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
