"""The tests' mail server gets what is sent to it."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

from tests.support.mail import smtp_server
from tests.support.processes import free_port, listens


def mail(subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "ada@example.com"
    message["To"] = "bob@example.com"
    message["Subject"] = subject
    message.set_content("Hello.")
    return message


def test_a_mail_is_kept() -> None:
    with smtp_server() as mailbox, smtplib.SMTP("127.0.0.1", mailbox.port) as client:
        client.send_message(mail("Grüße"), to_addrs=["bob@example.com", "hidden@example.com"])
        (kept,) = mailbox.wait_for(1)
        assert kept["Subject"] == "Grüße"
        assert kept.get_content() == "Hello.\n"
        assert kept["X-RcptTo"] == "bob@example.com, hidden@example.com"


def test_it_listens_where_it_should_and_no_longer() -> None:
    port = free_port()
    with smtp_server(port) as mailbox:
        assert mailbox.port == port
        assert listens(port)
    assert not listens(port)
