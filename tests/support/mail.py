"""A real SMTP server on loopback that keeps what it gets."""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.processes import PATIENCE, wait_for


class Mailbox:
    """What a mail server got.

    :ivar port: where it listens, on 127.0.0.1.
    :ivar mails: the mails, oldest first; ``X-RcptTo`` is whom the envelope named.
    """

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = (envelope.original_content or b"").replace(b"\r\n", b"\n")
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        mail["X-RcptTo"] = ", ".join(envelope.rcpt_tos)
        self.mails.append(mail)
        return "250 OK"

    def wait_for(self, count: int, seconds: float = PATIENCE) -> list[EmailMessage]:
        """Wait until so many mails have come; all of them."""
        wait_for(lambda: len(self.mails) >= count, f"{count} mails, not {self.mails}", seconds)
        return self.mails


@contextmanager
def smtp_server(port: int = 0) -> Iterator[Mailbox]:
    """A mail server in a thread, for the length of a ``with`` block.

    :param port: where to listen; 0 for any free port.
    """
    mailbox = Mailbox()
    loop = asyncio.new_event_loop()
    connections: list[SMTP] = []

    def connect() -> SMTP:
        connections.append(
            SMTP(mailbox, hostname="localhost", enable_SMTPUTF8=True, loop=loop),
        )
        return connections[-1]

    server = loop.run_until_complete(loop.create_server(connect, "127.0.0.1", port))
    mailbox.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name="smtp")
    thread.start()
    try:
        yield mailbox
    finally:
        asyncio.run_coroutine_threadsafe(close(server, connections), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def close(server: asyncio.Server, connections: list[SMTP]) -> None:
    server.close()
    # One may have been accepted a moment ago; each ends when it loses its connection.
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for connection in connections:
            if connection.transport is not None:
                connection.transport.close()
        await asyncio.wait(tasks, timeout=0.05)
