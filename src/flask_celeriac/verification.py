"""Whether a message may become a task, looked at before its body is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Complaint:
    """Why a message is not run.

    :param reason: one word for lists and programs, such as ``"signature"``
    :param text: a sentence for people, with the remedy where there is one
    :param forged: whoever sent it may not be who it says: what it says of itself, its id above
        all, is not believed
    """

    reason: str
    text: str
    forged: bool = False


def complaint(app: Any, message: Any) -> Complaint | None:
    """What is wrong with a message, None where nothing is.

    :param app: the application it was sent to
    :param message: as kombu received it; its body is not decoded
    """
    return None
