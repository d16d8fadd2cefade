"""Reading the one Mermaid drawing of a README: who gives what to whom.

A small and strict part of Mermaid, so that what passes here is drawn everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.markdown import blocks


@dataclass(frozen=True)
class Arrow:
    """From one thing to another, by the names a reader sees."""

    source: str
    target: str
    label: str


#: ``a``, ``a[Flask view]``, ``a["GET /"]``, ``a[(Queue)]``, ``a([Result])``, ``a{Choice}``
_NODE = r"""
    (?P<{0}>[A-Za-z]\w*)
    (?:\[\((?P<{0}_1>[\w .,'/:-]+)\)\] | \(\[(?P<{0}_2>[\w .,'/:-]+)\]\)
     | \["(?P<{0}_3>[^"]+)"\] | \[(?P<{0}_4>[\w .,'/:-]+)\] | \((?P<{0}_5>[\w .,'/:-]+)\)
     | \{{(?P<{0}_6>[\w .,'/:-]+)\}} )?
"""
_LABEL = r"""(?:\| (?:"(?P<quoted>[^"|]+)" | (?P<label>[\w .,'/:-]+)) \|)?"""
_HEAD = re.compile(r"(flowchart|graph) (LR|RL|TB|TD|BT)")
_EDGE = re.compile(
    rf"{_NODE.format('source')} \s* (?:-->|-\.->|==>) \s* {_LABEL} \s* {_NODE.format('target')}",
    re.VERBOSE,
)
_ALONE = re.compile(_NODE.format("node"), re.VERBOSE)
_PARTICIPANT = re.compile(r"(?:participant|actor) (?P<id>[A-Za-z]\w*)(?: as (?P<name>\S.*))?")
_MESSAGE = re.compile(
    r"(?P<source>[A-Za-z]\w*)(?:-?->>|-?-[x)]|-?->)[+-]?(?P<target>[A-Za-z]\w*): ?(?P<label>\S.*)"
)
_NOTE = re.compile(r"Note (?:over|left of|right of) [A-Za-z]\w*(?:,[A-Za-z]\w*)?: ?\S.*")


def arrows(readme: Path) -> list[Arrow]:
    """The arrows of the drawing, from top to bottom.

    :raises ValueError: there is not exactly one drawing, or a line in it is not understood.
    """
    drawings = [block for block in blocks(readme) if block.language == "mermaid"]
    if len(drawings) != 1:
        raise ValueError(f"{readme} has {len(drawings)} drawings in Mermaid instead of one")
    return arrows_in(drawings[0].code)


def arrows_in(drawing: str) -> list[Arrow]:
    head, *lines = [line.strip() for line in drawing.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("%%")]
    if head == "sequenceDiagram":
        return _messages(lines)
    if _HEAD.fullmatch(head):
        return _edges(lines)
    raise ValueError(f"not a drawing that is understood here: {head!r}")


def _edges(lines: list[str]) -> list[Arrow]:
    names: dict[str, str] = {}
    found: list[tuple[str, str, str]] = []
    for line in lines:
        if match := _EDGE.fullmatch(line):
            source, target = _node(match, "source", names), _node(match, "target", names)
            found.append((source, target, (match["quoted"] or match["label"] or "").strip()))
        elif match := _ALONE.fullmatch(line):
            _node(match, "node", names)
        else:
            raise ValueError(f"not a line of a flowchart: {line!r}")
    return [Arrow(names[source], names[target], label) for source, target, label in found]


def _node(match: re.Match[str], group: str, names: dict[str, str]) -> str:
    """Note a node's text where it is given; its id."""
    node = match[group]
    if node.lower() == "end":
        raise ValueError("Mermaid cannot draw a node that is called `end`")
    text = next((text for i in range(1, 7) if (text := match[f"{group}_{i}"])), None)
    if text and names.get(node, node) not in (node, text):
        raise ValueError(f"{node} is called {names[node]!r} and {text!r}")
    names[node] = text or names.get(node, node)
    return node


def _messages(lines: list[str]) -> list[Arrow]:
    names: dict[str, str] = {}
    found = []
    for line in lines:
        if match := _PARTICIPANT.fullmatch(line):
            names[match["id"]] = match["name"] or match["id"]
        elif match := _MESSAGE.fullmatch(line):
            for group in ("source", "target"):
                if match[group] not in names:
                    raise ValueError(f"{match[group]} is no participant: {line!r}")
            arrow = Arrow(names[match["source"]], names[match["target"]], match["label"].strip())
            found.append(arrow)
        elif not _NOTE.fullmatch(line):
            raise ValueError(f"not a line of a sequence diagram: {line!r}")
    return found
