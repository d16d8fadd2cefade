"""What the views are sent."""

from __future__ import annotations

import re

from flask import request
from werkzeug.exceptions import UnprocessableEntity

# No space, line break or other sign that means something in a mail's head.
ADDRESS = re.compile(r"[!#-'*+\-./0-9=?A-Z^-~]{1,64}@[\w-]+(\.[\w-]+)*", re.ASCII)


def read() -> tuple[str, str]:
    """The recipient and the content of a mail.

    :raises werkzeug.exceptions.BadRequest: one is missing
    :raises werkzeug.exceptions.UnprocessableEntity: one cannot be used
    """
    recipient, content = request.form["recipient"].strip(" "), request.form["content"]
    name, _, domain = recipient.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode()
    except UnicodeError:
        ascii_domain = ""
    if not ADDRESS.fullmatch(f"{name}@{ascii_domain}") or len(recipient) > 254:
        raise UnprocessableEntity("recipient: give one mail address, such as user@example.com.")
    if not content.strip():
        raise UnprocessableEntity("content: write something.")
    return recipient, content
