"""The commands that see tasks and steer them, in this process, beside one worker."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_celeriac import database, sqlite
from flask_celeriac.cli import celery as celery_group
from flask_celeriac.sqlite_opening import connect
from tests.cli.desk import create_app
from tests.cli.terminal import FLASK, Terminal
from tests.support.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]


class Desk:
    """An application, and the commands as ``flask`` would call them."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.app = create_app(str(folder), **config)

    def run(self, *command: str, code: int = 0, stdin: str | None = None) -> Result:
        done = CliRunner().invoke(
            celery_group, command, obj=ScriptInfo(create_app=lambda: self.app), input=stdin
        )
        assert done.exit_code == code, done.output
        return done

    def json(self, *command: str, code: int = 0) -> Any:
        return json.loads(self.run(*command, "--json", code=code).stdout)

    def ids(self, *options: str) -> list[str]:
        return [task["id"] for task in self.json("list", *options)["tasks"]]

    def start(self, *command: str) -> str:
        return self.run("start", *command).stdout.strip()

    def waiting(self, queue: str) -> str:
        """A task in a queue that no worker consumes."""
        return self.start("desk.add", "a=1", "b=2", "--queue", queue)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    desk = Desk(folder)
    named = ("--app", f"tests.cli.desk:create_app({str(folder)!r})")
    with Terminal(*FLASK, *named, "celery", "worker", "-P", "solo", cwd=ROOT) as worker:
        worker.sees(" ready.")
        yield desk
        worker.press(signal.SIGTERM)
        worker.ends()
    path = str(folder / "instance" / "celeriac" / "celeriac.db")
    database.engine_for(sqlite.url_of(path)).dispose()
    sqlite.file_at(path).close()


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, so that nothing is cut."""
    monkeypatch.delenv("COLUMNS", raising=False)


def test_start_prints_the_id_and_with_wait_how_it_ended(desk: Desk) -> None:
    assert re.fullmatch(r"[0-9a-f-]{36}\n", desk.run("start", "desk.add", "a=1", "b=2").stdout)
    added = desk.run("start", "desk.add", "--args", "[1]", "b=41", "--wait", "10")
    assert added.stdout.splitlines()[1:] == ["succeeded: 42"]
    failed = desk.run("start", "desk.fail", "why=so it is", "--wait", "10", code=4)
    assert failed.stdout.splitlines()[1:] == [r"failed: ValueError: so it is\x1b[31m"]
    idle = desk.run("start", "desk.add", "a=1", "b=1", "--queue", "late", "--wait", "0", code=5)
    assert "still queued" in idle.stdout
    told = desk.json("start", "desk.add", "--kwargs", '{"a": 1, "b": 2}', "--wait", "10")
    assert (told["state"], told["result"]) == ("succeeded", 3)
    assert list(desk.json("start", "desk.add", "a=1", "b=2")) == ["id"]


def test_start_takes_what_celery_takes(desk: Desk) -> None:
    late = desk.start(
        *("desk.add", "a=1", "b=2", "--queue", "late", "--priority", "7"),
        *("--eta", "2999-01-31T14:30Z", "--label", "nightly", "--label", "slow"),
    )
    task = desk.json("show", late)
    assert (task["state"], task["queue"], task["priority"]) == ("scheduled", "late", 7)
    assert (task["eta"], task["labels"]) == ("2999-01-31T14:30:00Z", ["nightly", "slow"])
    assert desk.ids("--label", "slow") == [late]
    desk.run("revoke", "--label", "nightly", "--yes")


def test_start_where_tasks_are_run_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CELERY={"task_always_eager": True})
    assert desk.json("start", "desk.add", "a=1", "b=2", "--wait", "9")["result"] == 3
    failed = desk.run("start", "desk.fail", "why=so", "--wait", "9", code=4)
    assert failed.stdout.splitlines()[1].startswith("failed: ValueError: so")
    desk.start("desk.add", "a=1", "b=2")


def test_a_value_is_json_where_it_is_some_and_text_elsewhere(desk: Desk) -> None:
    values = ["n=3", 'quoted="3"', "text=a b", "zip=01234", "none=null", "eq=a=b"]
    told = desk.json("start", "desk.echo", *values, "--wait", "10")
    assert told["result"] == {
        "n": 3, "quoted": "3", "text": "a b", "zip": "01234", "none": None, "eq": "a=b"
    }  # fmt: skip


def test_what_is_no_number_is_null_as_json_has_it(desk: Desk) -> None:
    told = desk.json("start", "desk.echo", "a=NaN", "b=[1e999]", "--wait", "10")
    assert told["result"] == {"a": None, "b": [None]}
    assert desk.json("show", told["id"])["result"] == {"a": None, "b": [None]}


@pytest.mark.parametrize(
    ("command", "code", "remedy"),
    [
        ("start desk.ad", 1, "did you mean 'desk.add'?"),
        ("start desk.add a=1", 1, "'b'"),
        ("start desk.add 1", 2, "write key=value"),
        ("start desk.add a=1 b=1 --eta soon", 2, "type a date or time as in 2026-01-31"),
        ("start desk.add a=1 b=1 --eta 2999-01-01 --countdown 1", 2, "one of the two"),
        ("start desk.add a=1 b=1 --priority 10", 2, "0<=x<=9"),
        ("start desk.add a=1 b=1 --label  ", 2, "requires an argument"),
        ("start desk.add --args {}", 2, "give it in JSON, for example '[7,"),
        ("start desk.add --kwargs []", 2, "give it in JSON, for example '{"),
        ("show nonsense", 1, "There is no task 'nonsense'"),
        ("why nonsense", 1, "There is no task 'nonsense'"),
        ("revoke nonsense", 1, "There is no task 'nonsense'"),
        ("discard nonsense", 1, "There is no task 'nonsense'"),
        ("retry", 2, "by options such as --name"),
        ("retry some --name desk.add", 2, "one of the two"),
        ("revoke --state failed", 2, "Only tasks that are scheduled, queued or retrying"),
        ("list --cursor nonsense", 2, "begin the list anew"),
        ("list --state done", 2, "'succeeded'"),
        ("list --since yesterday", 2, "2026-01-31T14:30"),
        ("queues --pause a --resume a", 2, "not both"),
    ],
)
def test_a_refusal_is_one_line_with_the_remedy(
    desk: Desk, command: str, code: int, remedy: str
) -> None:
    told = desk.run(*command.split(), code=code)
    assert remedy in told.stderr.splitlines()[-1]
    assert told.stdout == ""


def test_list_prints_whole_ids_and_counts(desk: Desk, wide: None) -> None:
    ids = [desk.waiting("listed") for _ in range(3)]
    listed = desk.run("list", "--queue", "listed")
    lines = listed.stdout.splitlines()
    assert lines[0].split() == ["ID", "STATE", "NAME", "AGE", "WAIT", "RUN"]
    assert [line.split()[:3] for line in lines[1:]] == [
        [i, "queued", "desk.add"] for i in ids[::-1]
    ]
    assert listed.stderr == "3 of 3 tasks\n"


def test_list_goes_on_where_it_ended(desk: Desk, wide: None) -> None:
    ids = [desk.waiting("long") for _ in range(3)]
    first = desk.run("list", "--queue", "long", "--limit", "2")
    assert first.stderr.startswith("2 of 3 tasks; go on with --cursor ")
    rest = desk.run("list", "--queue", "long", "--cursor", first.stderr.split()[-1])
    assert rest.stdout.splitlines()[1].split()[0] == ids[0]
    assert "--cursor" not in rest.stderr


def test_list_is_one_document_for_programs(desk: Desk) -> None:
    task_id = desk.waiting("documents")
    page = desk.json("list", "--queue", "documents")
    assert (page["next"], page["searched_all"]) == (None, True)
    (task,) = page["tasks"]
    assert task["id"] == task_id
    assert task["kwargs"] == {"a": 1, "b": 2}
    assert task["created"].endswith("Z")


def test_list_chooses(desk: Desk) -> None:
    task_id = desk.waiting("chosen")
    queue = ("--queue", "chosen")
    assert desk.ids(*queue, "--state", "queued", "--state", "failed") == [task_id]
    assert desk.ids(*queue, "--state", "failed") == []
    assert desk.ids(*queue, "--name", "desk.add", "--since", "1h") == [task_id]
    assert desk.ids(*queue, "--until", "1h") == []
    assert desk.ids(*queue, "--until", "2999-01-01T00:00Z", "--since", "2026-01-31") == [task_id]
    assert desk.ids(*queue, "--root", task_id) == [task_id]
    assert desk.ids(*queue, "--label", "none") == []
    assert desk.run("list", *queue, "--text", "nowhere").stderr == "No tasks.\n"


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_a_narrow_terminal_cuts_anything_but_ids(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    task_id = failed(desk, "a rather long reason, which does not fit into many terminals at all")
    desk.waiting("other")
    lines = desk.run("list").stdout.splitlines()
    assert task_id in {line.split()[0] for line in lines}
    assert max(map(len, lines)) <= max(columns, 36 + 2 + 9 + 2 + 12 + 2 + 3 + 2 + 12)


def failed(desk: Desk, why: str) -> str:
    return desk.run("start", "desk.fail", f"why={why}", "--wait", "10", code=4).stdout.split()[0]


def test_show_has_the_error_and_no_secrets(desk: Desk, wide: None) -> None:
    task_id = failed(desk, "shown")
    shown = desk.run("show", task_id).stdout
    assert re.search(r"^error +ValueError: shown\\x1b\[31m$", shown, re.MULTILINE)
    assert "Traceback (most recent call last):" in shown
    assert "\x1b" not in shown
    assert "hush" not in desk.run("show", desk.start("desk.fail", "why=x", "password=hush")).stdout
    document = desk.json("show", task_id)
    assert document["error"]["type"] == "ValueError"
    assert (document["earlier_attempts"], document["workflow"]) == ([], [])
    assert desk.run("show", task_id, "--wait", "0", code=4).stdout == shown


def test_retry_sends_one_again_with_other_arguments(desk: Desk) -> None:
    task_id = failed(desk, "the first")
    new = desk.run("retry", task_id, "--kwargs", '{"why": "the second"}').stdout.strip()
    document = desk.json("show", new, "--wait", "10", code=4)
    assert document["retry_of"] == task_id
    assert document["error"]["message"].startswith("the second")
    assert list(desk.json("retry", task_id)["made"]) == [task_id]


def test_what_can_be_done_is_done_and_the_rest_told(desk: Desk) -> None:
    ids = [desk.waiting("some"), desk.waiting("some")]
    told = desk.run("revoke", ids[0], "nonsense", ids[1], code=1)
    assert told.stdout == "2 tasks revoked\n"
    assert told.stderr.startswith("Error: There is no task 'nonsense'")
    assert desk.json("revoke", *ids, code=1)["done"] == 0
    assert desk.json("discard", *ids) == {"done": 2, "refused": {}, "made": {}}
    assert desk.ids("--queue", "some") == []


@contextmanager
def locked_after(path: str, number: int) -> Iterator[list[str]]:
    """Have another writer hold a file from when some tasks were sent, until the block ends.

    :param number: how many tasks get through
    :return: their ids
    """
    sent: list[str] = []
    other = connect(path)

    def look(headers: Any, **_: Any) -> None:
        if len(sent) < number:
            sent.append(headers["id"])
        elif not other.in_transaction:
            other.execute("BEGIN IMMEDIATE")

    before_task_publish.connect(look)
    try:
        yield sent
    finally:
        before_task_publish.disconnect(look)
        other.close(force=True)


def test_what_was_sent_before_the_broker_went_away_is_told(desk: Desk) -> None:
    ids = [desk.waiting("fragile") for _ in range(3)]
    desk.run("revoke", *ids)
    path = sqlite.path_of(desk.app.extensions["celery"].conf.broker_url)
    with locked_after(path, 1) as sent:
        told = desk.run("retry", *ids, code=3)
    assert told.stdout.split() == sent
    assert "Error: 1 of 3 tasks were done" in told.stderr
    with locked_after(path, 1) as sent:
        partly = desk.run("retry", *ids, "--json", code=3)
    assert json.loads(partly.stdout)["made"] == {ids[0]: sent[0]}


def test_many_are_counted_before_anything_is_done(desk: Desk) -> None:
    ids = [desk.waiting("many") for _ in range(3)]
    chosen = ("--queue", "many")
    asked = desk.run("revoke", *chosen, stdin="n\n", code=1)
    assert "Revoke 3 tasks (scheduled, queued, retrying)? [y/N]" in asked.stderr
    assert "say --yes" in desk.run("revoke", *chosen, "--json", code=2).stderr
    assert "3 tasks would be revoked: say --yes" in desk.run("revoke", *chosen, code=2).stderr
    assert desk.ids(*chosen, "--state", "queued") == ids[::-1]
    assert desk.run("revoke", *chosen, stdin="y\n").stdout == "3 tasks revoked\n"
    assert desk.run("revoke", *chosen).stdout == "0 tasks revoked\n"
    # Nobody wants those again that were taken back, unless it is said.
    assert desk.run("retry", *chosen).stdout == "0 tasks retried\n"
    made = desk.json("retry", *chosen, "--state", "revoked", "--yes")["made"]
    assert set(made) == set(ids)
    assert set(made.values()) == set(desk.ids(*chosen, "--state", "queued"))


def test_queues_are_paused_and_resumed(desk: Desk, wide: None) -> None:
    desk.waiting("later")
    paused = desk.run("queues", "--pause", "later")
    assert "--resume later" in paused.stdout
    assert paused.stderr == ""
    assert "paused already" in desk.run("queues", "--pause", "later").stdout
    (line,) = [row for row in desk.run("queues").stdout.splitlines() if row.startswith("later ")]
    assert line.split()[1:4] == ["1", "0", "0"]
    assert line.endswith(" ago")
    assert desk.json("queues", "--resume", "later") == {
        "queue": "later",
        "paused": False,
        "changed": True,
    }
    assert desk.run("queues", "--resume", "later").stdout == "later was not paused\n"
    queues = {queue["name"]: queue for queue in desk.json("queues")["queues"]}
    assert queues["later"]["paused_since"] is None


def test_several_queues_are_paused_at_once(desk: Desk) -> None:
    names = ("--pause", "first", "--pause", "second")
    lines = desk.run("queues", *names).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["first", "second"]
    paused = {q["name"] for q in desk.json("queues")["queues"] if q["paused_since"]}
    assert {"first", "second"} <= paused
    told = desk.run("queues", "--resume", "first", "--resume", "second").stdout
    assert told == "first goes on\nsecond goes on\n"


def test_what_is_given_twice_is_told(desk: Desk) -> None:
    told = desk.run("start", "desk.add", "a=1", "b=2", "a=3", code=2).stderr
    assert "a is given twice: 'a=3' is the second one" in told


@pytest.mark.parametrize("command", [("start", "desk.add", "a=1", "b=2"), ("list",)])
def test_a_queue_has_a_name(desk: Desk, command: tuple[str, ...]) -> None:
    assert "'' names nothing" in desk.run(*command, "--queue", "", code=2).stderr


def test_pausing_what_nobody_knows_looks_like_a_slip(desk: Desk) -> None:
    assert "slip" in desk.run("queues", "--pause", "latre").stderr
    desk.run("queues", "--resume", "latre")


def test_a_queue_without_a_name_is_not_paused(desk: Desk) -> None:
    for name in ("", " "):
        assert "a queue has a name" in desk.run("queues", "--pause", name, code=2).stderr
    assert {"", " "}.isdisjoint(queue["name"] for queue in desk.json("queues")["queues"])


@pytest.mark.parametrize(
    "command",
    [
        "start desk.add a=1 b=2 --wait",
        "start desk.add a=1 b=2 --countdown",
        "show any --wait",
        "workers --timeout",
        "prune --dry-run --succeeded",
        "prune --dry-run --others",
    ],
)
@pytest.mark.parametrize("length", ["nan", "inf", "-inf", "-1", "1e300"])
def test_a_length_of_time_is_a_number(desk: Desk, command: str, length: str) -> None:
    before = desk.ids()
    told = desk.run(*command.split(), length, code=2)
    assert "Error: Invalid value for '--" in told.stderr
    assert length in told.stderr or str(float(length)) in told.stderr
    assert desk.ids() == before


def test_workers_and_why(desk: Desk, wide: None) -> None:
    def answers() -> Any:
        return desk.json("workers", "--timeout", "0.3")["workers"]

    (worker,) = wait_for(answers, "the worker to answer")
    assert (worker["pool"], worker["queues"]) == ("solo", ["celery"])
    task_id = desk.waiting("lonely")
    document = desk.json("why", task_id)
    assert document["id"] == task_id
    assert document["reasons"][0]["code"] == "no_worker"


def test_prune_deletes_what_ended_long_enough_ago(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.run("revoke", desk.waiting("old"))
    assert desk.run("prune").stdout == "0 records deleted\n"
    assert desk.json("prune", "--succeeded", "1e-9") == {"deleted": 0}
    assert "0" in desk.run("prune", "--others", "0", code=2).stderr
    assert desk.run("prune", "--dry-run").stdout == "0 records would be deleted\n"
    told = desk.run("prune", "--others", "1e-9", "--dry-run").stdout
    assert told == "1 record would be deleted\n"
    counted = desk.json("prune", "--others", "1e-9", "--dry-run")
    assert counted == {"count": 1, "capped": False}
    assert desk.run("prune", "--others", "1e-9").stdout == "1 record deleted\n"
    assert desk.ids() == []


def test_a_broker_without_records_says_what_to_set(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CELERY_BROKER_URL="redis://:hush@127.0.0.1:1/0")
    for command in ("list", "queues", "show x", "prune", "start desk.add a=1 b=2 --wait 1"):
        assert "set CELERIAC_DATABASE" in desk.run(*command.split(), code=1).stderr
    told = desk.run("start", "desk.add", "a=1", "b=2", code=3)
    (line,) = told.stderr.splitlines()
    assert line.startswith("Error: Broker or database out of reach: ")
    assert "hush" not in line


def test_a_database_out_of_reach_is_one_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path, CELERIAC_DATABASE="postgresql+psycopg://u:hush@127.0.0.1:1/none")
    (line,) = desk.run("list", code=3).stderr.splitlines()
    assert line.startswith("Error: Broker or database out of reach: connection failed")
    assert "hush" not in line


def test_an_application_without_celeriac_is_told_so(desk: Desk) -> None:
    done = CliRunner().invoke(
        celery_group, ["list"], obj=ScriptInfo(create_app=lambda: Flask("bare"))
    )
    assert done.exit_code == 1
    assert "init_app" in done.stderr


@pytest.mark.parametrize("command", ["check", "current", "upgrade"])
def test_a_pasted_function_is_no_traceback(command: str) -> None:
    def create_app() -> Flask:
        app = Flask("pasted")
        app.extensions["celery"] = Celery("pasted", broker="memory://", set_as_current=False)
        return app

    done = CliRunner().invoke(celery_group, ["db", command], obj=ScriptInfo(create_app=create_app))
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert not isinstance(done.exception, AttributeError)
