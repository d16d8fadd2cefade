"""A mail server that keeps every mail in a folder and sends none on.

python -m data_desk.mail_catcher --port 1025 --folder instance/mails
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
import sys
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

LARGEST = 32 * 1024 * 1024


class Catcher:
    """Writes each mail to a file named by its Message-ID: one that comes again stays one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        key = message_from_bytes(content).get("Message-ID", "").encode() or content
        path = self.folder / f"{hashlib.sha256(key).hexdigest()[:24]}.eml"
        if path.exists():
            print(f"{key.decode(errors='replace')} came again", flush=True)
            return "250 I have it already"
        unfinished = path.with_suffix(f".{os.getpid()}-{id(envelope)}.part")
        unfinished.write_bytes(content)
        unfinished.replace(path)
        print(f"mail for {', '.join(envelope.rcpt_tos)}", flush=True)
        return "250 OK"


async def serve(host: str, port: int, folder: Path) -> None:
    """Catch mails until SIGTERM or SIGINT.

    :raises OSError: when the port is taken.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: KeyboardInterrupt ends the loop
            break
    catcher = Catcher(folder)
    server = await loop.create_server(
        lambda: SMTP(catcher, data_size_limit=LARGEST, hostname="localhost", loop=loop), host, port
    )
    print(f"catching mails on {host}:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m data_desk.mail_catcher")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1025)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        asyncio.run(serve(options.host, options.port, options.folder))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(f"The mail catcher cannot use port {options.port}: {error.strerror or error}")


if __name__ == "__main__":
    main()
