"""Drawings are read as Mermaid reads them, or refused."""

from __future__ import annotations

import pytest

from tests.support.flow import Arrow, arrows_in

FLOWCHART = """
flowchart LR
    %% a comment
    view[Flask view] -->|calls| task["add(x, y)"]
    task --> broker[(Broker)]
    broker -.-> view
"""
SEQUENCE = """
sequenceDiagram
    participant view as Flask view
    participant task
    Note over view,task: Every call goes this way
    view->>task: add.delay(2, 3)
    task-->>view: its id
"""


def test_the_arrows_of_a_flowchart() -> None:
    assert arrows_in(FLOWCHART) == [
        Arrow("Flask view", "add(x, y)", "calls"),
        Arrow("add(x, y)", "Broker", ""),
        Arrow("Broker", "Flask view", ""),
    ]


def test_the_arrows_of_a_sequence_diagram() -> None:
    assert arrows_in(SEQUENCE) == [
        Arrow("Flask view", "task", "add.delay(2, 3)"),
        Arrow("task", "Flask view", "its id"),
    ]


@pytest.mark.parametrize(
    "drawing",
    [
        "pie",
        "flowchart LR\n A[One] -->|calls|> B[Two]",
        "flowchart LR\n A[add(x)] --> B",
        "flowchart LR\n A --> end",
        "flowchart LR\n A[One] --> B\n B --> A[Two]",
        "sequenceDiagram\n participant Flask View as View",
        "sequenceDiagram\n participant a\n a->>b: unknown",
        "sequenceDiagram\n participant a\n a->>a",
    ],
)
def test_what_cannot_be_drawn_is_refused(drawing: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        arrows_in(drawing)
