"""What may have been meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that is most like another, None where none is.

    :param cutoff: how alike they are at least, between 0 and 1, as in :mod:`difflib`
    """
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(
    word: str,
    known: Iterable[str],
    otherwise: str,
    *,
    written: Callable[[str], str] = repr,
    cutoff: float = 0.6,
) -> str:
    """The remedy of an error about a word: a question, or something else where none is like it.

    :param written: how the known word is shown
    """
    found = closest(word, known, cutoff=cutoff)
    return f"did you mean {written(found)}?" if found is not None else otherwise
