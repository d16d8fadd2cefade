"""The demo as people use it: real processes, a real browser's requests, a real SMTP server."""

from __future__ import annotations

import codecs
import csv
import io
import re
import socket
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.processes import PATIENCE, free_port, wait_for

from .data_desk_support import (
    FOLDER,
    PAGE,
    SHIPPED,
    Desk,
    catcher,
    environment,
    running,
)

ROWS_PER_SECOND = 8000


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    instance = tmp_path_factory.mktemp("data_desk") / "instance"
    with running(
        instance,
        # Slow enough to be watched, and to be killed in the middle.
        DATA_DESK_ROWS_PER_SECOND=str(ROWS_PER_SECOND),
        DATA_DESK_CLEANUP_SECONDS="2",
        DATA_DESK_KEEP_UPLOADS_SECONDS="1",
        DATA_DESK_MAX_UPLOAD_MB="5",
        DATA_DESK_RECIPIENT="default@example.org",
    ) as desk:
        yield desk


def test_shipped_data_becomes_a_report_and_a_mail(desk: Desk) -> None:
    path = desk.upload(SHIPPED.read_bytes(), "clock changes.csv", email="ada@example.org")
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        seen.append(desk.status(path))
        return seen[-1]["state"] in ("SUCCESS", "FAILURE")

    wait_for(look, "the report")
    assert {status["state"] for status in seen[:-1]} <= {"PENDING", "STARTED", "PROGRESS"}
    steps = [status["progress"]["current"] for status in seen]
    assert steps == sorted(steps)
    assert len({step for step in steps if 0 < step < steps[-1]}) > 2
    assert {status["progress"]["total"] for status in seen} == {19805}
    status = seen[-1]
    assert sorted(status) == ["error", "id", "progress", "result", "state"]
    assert (status["state"], status["error"]) == ("SUCCESS", None)
    assert path == f"/reports/{status['id']}"
    result = status["result"]
    assert result["rows"] == 19804
    columns = {column["name"]: column for column in result["columns"]}
    assert [column["type"] for column in result["columns"]] == [
        "text", "text", "date/time", "date/time", "number", "number", "number", "boolean", "text",
    ]  # fmt: skip
    assert columns["region"]["top"][0] == {"value": "America", "count": 9328, "approximate": False}
    assert columns["moment_utc"]["distinct"]["approximate"] is True
    assert columns["moment_utc"]["min"] == "1900-08-20 09:00:12"
    check_mail_and_pages(desk, status)


def check_mail_and_pages(desk: Desk, status: dict[str, Any]) -> None:
    result, path = status["result"], f"/reports/{status['id']}"
    plot = requests.get(desk.url + result["plot"]["url"], timeout=PATIENCE)
    assert plot.content.startswith(b"\x89PNG")
    assert "1992" in result["plot"]["alt"]

    (mail,) = wait_for(lambda: desk.mails(status["id"]), "the mail")
    assert (mail["subject"], mail["to"]) == ("Report: clock changes.csv", "ada@example.org")
    letter = desk.page(mail["url"] + "/html")
    assert "19,804 rows" in letter
    assert f"{desk.url}{path}" in letter
    picture = requests.get(f"{desk.url}{mail['url']}/parts/0", timeout=PATIENCE)
    assert picture.content == plot.content
    assert "moment_utc (date/time)" in desk.page(mail["url"])

    page = desk.page(path)
    assert result["plot"]["alt"] in page
    assert "http-equiv" not in page
    assert path in desk.page("/")
    assert mail["url"] in desk.page("/mail")


def test_a_browser_without_scripts_gets_there(desk: Desk) -> None:
    form = {"sample": "1"}
    response = requests.post(
        f"{desk.url}/reports", data=form, headers=PAGE, allow_redirects=False, timeout=PATIENCE
    )
    assert response.status_code == 303
    path = response.headers["Location"]
    assert '<noscript><meta http-equiv="refresh"' in desk.page(path)
    status = desk.finished(path)
    assert status["state"] == "SUCCESS"
    assert "19,804" in desk.page(path)
    assert wait_for(lambda: desk.mails(status["id"]), "a mail")[0]["to"] == "default@example.org"


def test_unknown_report(desk: Desk) -> None:
    for path in ("/reports/nothing", "/reports/../../etc/passwd", "/mail/nothing", "/nowhere"):
        response = requests.get(desk.url + path, headers={"Accept": "application/json"}, timeout=9)
        assert (response.status_code, response.json()["status"]) == (404, 404)
        response = requests.get(desk.url + path, headers=PAGE, timeout=9)
        assert response.status_code == 404
        assert "<h1>Not Found</h1>" in response.text


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "fields", "status", "words"),
    [
        (None, {}, 400, "Choose a CSV file"),
        (b"", {}, 400, "empty"),
        (b" \r\n\r\n", {}, 400, "empty"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", {}, 415, "PDF"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", {}, 415, "PNG"),
        (_zip(), {}, 415, "Excel"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", {}, 415, "web page"),
        (b'[{"a": 1}]', {}, 415, "JSON"),
        (b"a,b\n1,2\n", {"email": "a@example.org\nBcc: b@example.org"}, 400, "email"),
        (b"a,b\n1,2\n", {"email": "no address"}, 400, "email"),
        (b"a,b\n1,2\n", {"email": "x" * 300 + "@example.org"}, 400, "email"),
    ],
)
def test_refused_at_once(
    desk: Desk, content: bytes | None, fields: dict[str, str], status: int, words: str
) -> None:
    response = desk.post(content, **fields)
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert words in problem["detail"]


def test_too_large(desk: Desk) -> None:
    for size in (5_000_000, 40_000_000):
        response = desk.post(b"a,b\n" + b"1,2\n" * (size // 4))
        assert response.status_code == 413
        assert "5.0 MB" in response.json()["detail"]


def test_another_site_cannot_send_the_form(desk: Desk) -> None:
    response = requests.post(
        f"{desk.url}/reports",
        data={"sample": "1"},
        headers={"Sec-Fetch-Site": "cross-site"},
        timeout=PATIENCE,
    )
    assert response.status_code == 403


NULS = "NUL bytes were left out"
READABLE: list[tuple[bytes, int, list[str], str]] = [
    (b"a,b\n", 0, ["a", "b"], "no rows"),
    (b"a,b\n1,2\n3\n4,5,6\n", 3, ["a", "b"], "1 row has more cells than the header"),
    (b"name;price\nx;1,5\ny;2,5\n", 2, ["name", "price"], ""),
    (b"a\tb\n1\t2\n", 1, ["a", "b"], ""),
    (b"a|b\n1|2\n", 1, ["a", "b"], ""),
    (b"word\nlamp\n", 1, ["word"], ""),
    (codecs.BOM_UTF8 + "é,b\nü,2\n".encode(), 1, ["é", "b"], ""),
    ("é,b\nü,2\n".encode("utf-16"), 1, ["é", "b"], ""),
    ("é,b\nü,2\n".encode("utf-16-le"), 1, ["é", "b"], ""),
    ("é,b\nü,2\n".encode("cp1252"), 1, ["é", "b"], "not in UTF-8"),
    (b"a,b\n\x81\x8d,2\n", 1, ["a", "b"], "not in UTF-8"),
    (b"a,,a\n1,2,3\n", 1, ["a", "column 2", "a (2)"], "1 column has no name"),
    (b"a,b\n1\0,2\n", 1, ["a", "b"], NULS),
    (b'a,b\n"one\ntwo",2\n', 1, ["a", "b"], ""),
    (b"1,2\n3,4\n", 2, ["column 1", "column 2"], "holds values, not names"),
    (b"a,b\r1,2\r3,4\r", 2, ["a", "b"], ""),
    (b"a,b\n" + b"x" * 1_000_000 + b",2\n", 1, ["a", "b"], ""),
    (b"$a$,b_{\n\\frac,$x\n\\frac,$x\n\\frac2,$y\n", 3, ["$a$", "b_{"], ""),
]
UNREADABLE: list[tuple[bytes, str]] = [
    (bytes(range(256)) * 40, "binary"),
    (codecs.BOM_UTF16_LE + b"a\0,\0\x00\xd8\n\0", "cannot be decoded"),
    (b'a,b\n"' + b"never closed " * 340_000, "quotation mark"),
]


def test_every_kind_of_csv_ends_in_a_report_or_says_why(desk: Desk) -> None:
    readable = [desk.upload(content) for content, *_ in READABLE]
    unreadable = [desk.upload(content) for content, _ in UNREADABLE]
    for path, (content, rows, names, note) in zip(readable, READABLE, strict=True):
        status = desk.finished(path)
        assert status["state"] == "SUCCESS", (content[:40], status)
        assert status["progress"]["current"] == status["progress"]["total"] >= rows
        result = status["result"]
        assert (result["rows"], [c["name"] for c in result["columns"]]) == (rows, names)
        assert note in " ".join(result["notes"])
        assert bool(note) == bool(result["notes"])
        assert "<h2>Columns</h2>" in desk.page(path)
    for path, (content, words) in zip(unreadable, UNREADABLE, strict=True):
        status = desk.finished(path)
        assert status["state"] == "FAILURE", (content[:40], status)
        assert words in status["error"]
        assert status["result"] is None
        assert words in desk.page(path)


def test_a_hostile_file_name_is_only_a_name(desk: Desk) -> None:
    name = "../../<b>evil</b>\r\nBcc: x@example.org\u202e.csv"
    path = desk.upload(b"a,b\n1,2\n2,3\n", name)
    status = desk.finished(path)
    assert status["state"] == "SUCCESS"
    assert "<b>evil" not in desk.page(path)
    (mail,) = wait_for(lambda: desk.mails(status["id"]), "the mail")
    assert mail["to"] == "default@example.org"
    kept = [file.name for file in (desk.instance / "uploads").iterdir()]
    assert all(re.fullmatch(r"[0-9a-f-]{36}\.csv", file) for file in kept), kept


def test_failure_is_mailed_to_who_asked(desk: Desk) -> None:
    path = desk.upload(b"\x01\x02\x03" * 999, "blob.csv", email="ada@example.org")
    status = desk.finished(path)
    (mail,) = wait_for(lambda: desk.mails(status["id"]), "the mail")
    assert mail["subject"] == "Could not read blob.csv"
    assert status["error"] in desk.page(mail["url"])


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["child", "main"])
def test_a_killed_worker_still_ends_in_the_report_and_one_mail(desk: Desk, victim: str) -> None:
    rows = SHIPPED.read_bytes()
    path = desk.upload(rows + rows.split(b"\n", 1)[1], f"killed {victim}.csv")
    wait_for(lambda: desk.status(path)["progress"]["current"] > 2000, "the middle of the file")
    assert desk.status(path)["state"] == "PROGRESS"
    main, *pool = desk.workers()
    if victim == "main":
        main.kill()
    else:
        # Either may run the task, and both are started again.
        for process in pool:
            process.kill()
    status = desk.finished(path)
    assert (status["state"], status["result"]["rows"]) == ("SUCCESS", 2 * 19804)
    wait_for(lambda: "Mailed to" in desk.page(path), "the mail to be sent")
    assert "the task ran 2 times" in desk.page(path)
    assert len(desk.mails(status["id"])) == 1


def test_a_report_is_mailed_once_however_often_it_is_asked(desk: Desk) -> None:
    status = desk.finished(desk.upload(b"a,b\n1,2\n2,3\n", "asked.csv"))
    report_id = status["id"]
    wait_for(lambda: desk.mails(report_id), "the mail")
    desk.run_in_app(
        "    from data_desk.extensions import db\n"
        "    from data_desk.models import Report, SENDING\n"
        "    from data_desk.tasks import mail_report, profile_report\n"
        f"    for task in (mail_report, mail_report, profile_report):\n"
        f"        task.delay({report_id!r}).get(timeout=60)\n"
        # As after a crash between the server's yes and our note of it.
        f"    report = db.session.get(Report, {report_id!r})\n"
        f"    report.mail_state, report.mail_claim = SENDING, 'crashed'\n"
        "    db.session.commit()\n"
        f"    mail_report.apply_async(({report_id!r},), task_id='crashed').get(timeout=60)\n"
        "    db.session.refresh(report)\n"
        "    assert report.mail_state == 'sent', report.mail_state\n"
    )
    assert len(desk.mails(report_id)) == 1
    assert f"report-{report_id}@data-desk.invalid> came again" in desk.log()


def test_old_uploads_go_and_a_digest_comes(desk: Desk) -> None:
    status = desk.finished(desk.upload(b"a,b\n1,2\n2,3\n", "soon gone.csv"))
    upload = desk.instance / "uploads" / f"{status['id']}.csv"
    wait_for(lambda: not upload.exists(), "the upload to be deleted")

    def told() -> bool:
        mails = desk.mails("digest-")
        return any("soon gone.csv" in desk.page(mail["url"]) for mail in mails)

    wait_for(told, "a digest that names the report")
    assert desk.status(f"/reports/{status['id']}")["state"] == "SUCCESS"


def test_a_report_whose_task_was_never_sent_is_found(desk: Desk) -> None:
    report_id = str(uuid.uuid4())
    (desk.instance / "uploads" / f"{report_id}.csv").write_bytes(b"a,b\n1,2\n2,3\n")
    desk.run_in_app(
        "    from datetime import timedelta\n"
        "    from data_desk.extensions import db\n"
        "    from data_desk.models import Report, now\n"
        f"    db.session.add(Report(id={report_id!r}, filename='f.csv', size=12, lines=3,\n"
        "        email='ada@example.org', email_given=True,\n"
        "        created_at=now() - timedelta(hours=2)))\n"
        "    db.session.commit()\n"
    )
    assert desk.finished(f"/reports/{report_id}")["state"] == "SUCCESS"
    wait_for(lambda: desk.mails(report_id), "the mail")


def test_a_mail_server_of_ones_own_that_is_away_for_a_while(tmp_path: Path) -> None:
    mail_port = free_port()
    instance = tmp_path / "instance"
    with running(instance, MAIL_SERVER="127.0.0.1", MAIL_PORT=str(mail_port)) as desk:
        status = desk.finished(desk.upload(b"a,b\n1,2\n2,3\n"))
        wait_for(lambda: "Retry in" in desk.log(), "the first try to fail")
        assert desk.mails(status["id"]) == []
        assert status["result"]["mail"]["state"] != "sent"
        with catcher(mail_port, instance / "mails"):
            wait_for(lambda: desk.mails(status["id"]), "a later try")


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, str(FOLDER / "run.py"), "--port", port],
            env=environment(tmp_path / "instance"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} cannot be used")
    assert not (tmp_path / "instance").exists()


def test_the_shipped_data_set_is_what_its_notes_say() -> None:
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    notes = (SHIPPED.parent / "README.md").read_text(encoding="utf-8")
    assert f"{len(rows) - 1:,} rows" in notes
    assert {len(row) for row in rows} == {9}
    assert all(f"`{name}`" in notes for name in rows[0])
    assert "public domain" in notes
