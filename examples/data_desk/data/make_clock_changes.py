"""Rebuild clock_changes.csv from the IANA time zone database.

    python make_clock_changes.py [--zoneinfo FOLDER] [--output clock_changes.csv]

FOLDER is a compiled database with its ``zone1970.tab`` and ``tzdata.zi``: by default the one
inside the PyPI package ``tzdata``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

FIRST = datetime(1900, 1, 1, tzinfo=timezone.utc)
AFTER = datetime(2026, 1, 1, tzinfo=timezone.utc)
STEP = timedelta(hours=18)
COLUMNS = (
    "zone",
    "region",
    "moment_utc",
    "local_before",
    "offset_before_minutes",
    "offset_after_minutes",
    "shift_minutes",
    "is_dst",
    "abbreviation",
)


def zone_names(folder: Path) -> list[str]:
    """The zones that have differed since 1970, without their aliases."""
    lines = (folder / "zone1970.tab").read_text(encoding="utf-8").splitlines()
    return sorted(line.split("\t")[2] for line in lines if line and not line.startswith("#"))


def offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    found = moment.astimezone(zone).utcoffset()
    assert found is not None
    return found


def changes(zone: ZoneInfo) -> Iterator[datetime]:
    """Every first second at which the zone's clocks show another offset."""
    before = FIRST
    while before < AFTER:
        after = min(before + STEP, AFTER)
        if offset(zone, before) != offset(zone, after):
            low, high = before, after
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                if offset(zone, middle) == offset(zone, before):
                    low = middle
                else:
                    high = middle
            if high < AFTER:
                yield high
        before = after


def minutes(amount: timedelta) -> str:
    return f"{amount.total_seconds() / 60:.4f}".rstrip("0").rstrip(".")


def row(name: str, zone: ZoneInfo, moment: datetime) -> tuple[str, ...]:
    before, after = offset(zone, moment - timedelta(seconds=1)), offset(zone, moment)
    local = moment.astimezone(zone)
    return (
        name,
        name.split("/", maxsplit=1)[0],
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        (moment.replace(tzinfo=None) + before).strftime("%Y-%m-%dT%H:%M:%S"),
        minutes(before),
        minutes(after),
        minutes(after - before),
        "true" if local.dst() else "false",
        local.tzname() or "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild clock_changes.csv.")
    parser.add_argument("--zoneinfo", type=Path)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("clock_changes.csv")
    )
    options = parser.parse_args()
    folder = options.zoneinfo or Path(str(resources.files("tzdata") / "zoneinfo"))
    rows = []
    for name in zone_names(folder):
        with (folder / name).open("rb") as file:
            zone = ZoneInfo.from_file(file, key=name)
        rows += [row(name, zone, moment) for moment in changes(zone)]
    rows.sort(key=lambda values: (values[2], values[0]))
    with options.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    version = (folder / "tzdata.zi").read_text(encoding="utf-8").splitlines()[0]
    print(f"{len(rows)} rows from {version.lstrip('# ')}", file=sys.stderr)


if __name__ == "__main__":
    main()
