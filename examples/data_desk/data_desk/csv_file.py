"""Read any CSV a person may upload, row by row, with a memory that does not depend on its size."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .file_kind import looks_like

SAMPLE_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024
MAX_LINE = 8 * 1024 * 1024
MAX_FIELD = 4 * 1024 * 1024
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

# The module has one limit for the whole process. Raising it is safe for other readers in it.
csv.field_size_limit(max(MAX_FIELD, csv.field_size_limit()))


class UnreadableFile(Exception):
    """The file cannot be read as a CSV: the message tells the person who uploaded it why."""


@dataclass
class Format:
    """How a file's bytes become rows."""

    encoding: str
    delimiter: str
    lines: int
    notes: list[str] = field(default_factory=list)


def detect(path: Path) -> Format:
    """Find out encoding and delimiter, and refuse what is not a CSV.

    :raises UnreadableFile: when the file is empty, binary or undecodable.
    """
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if not head.strip():
        raise UnreadableFile("The file is empty. Upload a CSV with at least a header line.")
    if kind := looks_like(head):
        raise UnreadableFile(f"This is not a CSV: it looks like {kind}. Export it as CSV first.")
    encoding = _guess_encoding(head)
    lines, decodes = _scan(path, encoding)
    notes = []
    if not decodes:
        if encoding != "utf-8":
            raise UnreadableFile(
                f"The file says it is {encoding}, but it cannot be decoded."
                " Save it as UTF-8 and upload it again."
            )
        encoding = "cp1252"
        lines, decodes = _scan(path, encoding)
        if not decodes:
            encoding = "latin-1"  # in which every byte is a letter
            lines, _ = _scan(path, encoding)
        notes.append(
            "The file is not in UTF-8; it was read as Western European (Windows-1252). "
            "If letters look wrong, save it as UTF-8."
        )
    sample = head.decode(encoding, errors="ignore")
    _refuse_control_characters(sample)
    return Format(encoding, _guess_delimiter(sample), lines, notes)


def rows(path: Path, layout: Format) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(lines read so far, cells)`` for every row that is not blank.

    :raises UnreadableFile: when a line or a field is longer than any sensible one.
    """
    with path.open("r", encoding=layout.encoding, newline="") as file:
        reader = csv.reader(_lines(file, layout), delimiter=layout.delimiter)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise UnreadableFile(
                f"Line {reader.line_num:,} cannot be read as CSV ({error}). "
                "Is a quotation mark not closed?"
            ) from error


def _lines(file: io.TextIOBase, layout: Format) -> Iterator[str]:
    dropped = False
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) >= MAX_LINE and not line.endswith(("\n", "\r")):
            raise UnreadableFile(
                f"Line {number:,} is longer than {MAX_LINE:,} characters: "
                "this does not look like a CSV."
            )
        if "\0" in line:
            line = line.replace("\0", "")
            if not dropped:
                dropped = True
                layout.notes.append(f"NUL bytes were left out, the first in line {number:,}.")
        yield line


def _guess_encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    # UTF-16 without its mark shows as a NUL in every second byte of plain text.
    even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
    half = max(1, len(head[:4096]) // 2)
    if odd > 0.7 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.7 * half and odd < 0.1 * half:
        return "utf-16-be"
    return "utf-8"


def _scan(path: Path, encoding: str) -> tuple[int, bool]:
    """Count the lines and tell whether every byte decodes."""
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = returns = 0
    last = "\n"
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK_BYTES):
                text = decoder.decode(chunk)
                newlines += text.count("\n")
                returns += text.count("\r")
                last = text[-1:] or last
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return 0, False
    return (newlines or returns) + (last not in "\r\n"), True


def _refuse_control_characters(sample: str) -> None:
    strange = sum(
        1 for letter in sample if letter < " " and letter not in "\t\n\r\f\x1c\x1d\x1e\x1f"
    )
    if strange > max(3, len(sample) // 50):
        raise UnreadableFile("This is not a CSV: it holds binary data. Export it as CSV first.")


def _guess_delimiter(sample: str) -> str:
    """The delimiter that cuts most rows into the same number of cells, more than one of them."""
    cut = sample if len(sample) < SAMPLE_BYTES // 2 else sample[: sample.rfind("\n") + 1] or sample
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        widths = []
        reader = csv.reader(io.StringIO(cut.replace("\0", ""), newline=""), delimiter=delimiter)
        try:
            for cells in reader:
                if cells:
                    widths.append(len(cells))
                if len(widths) == 200:
                    break
        except csv.Error:
            continue
        if not widths:
            continue
        usual = max(set(widths), key=widths.count)
        if usual > 1:
            # A header that agrees counts extra: prose has commas too, but not in step.
            score = widths.count(usual) / len(widths) + (0.5 if widths[0] == usual else 0)
            if score > best_score:
                best, best_score = delimiter, score
    return best
