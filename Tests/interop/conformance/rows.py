"""Rows of Docs/conformance.md: each test is one, and says so with the marker `row`."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parents[2] / "Docs" / "conformance.md"
COLLECTED = pytest.StashKey()
HEADS = {"test_refusals.py": "| what is sent | answer | reason | test |"}
BEGIN, END = "<!-- rows: {} -->", "<!-- end of rows -->"


@dataclass(frozen=True)
class Row:
    file: str
    test: str
    behaviour: str
    source: str
    direction: str

    @staticmethod
    def of(item):
        marker = item.get_closest_marker("row")
        assert marker and len(marker.args) == 3, f"{item.nodeid} has no row(behaviour, source, direction)"
        return Row(Path(item.path).name, item.name, *marker.args)

    def __str__(self):
        return f"| {self.behaviour} | {self.source} | {self.direction} | `{self.file}::{self.test}` |"


def is_row(item):
    return Path(item.path).name != "test_table.py"


def collect():
    """All rows of the folder, whatever part of it the present run was asked for."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--collect-only", str(FOLDER)],
            env=dict(os.environ, CONFORMANCE_ROWS=out.name), capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        return [Row(**fields) for fields in json.load(open(out.name))]


def documented():
    """The rows that stand on the page, as text."""
    if not PAGE.exists():
        return []
    return [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and ".py::" in line]


def write(found):
    """Puts the rows between the marks of their file."""
    text = PAGE.read_text()
    for file in sorted({row.file for row in found}):
        begin = BEGIN.format(file)
        head, _, rest = text.partition(begin)
        assert rest, f"{PAGE} has no {begin}"
        tail = rest.partition(END)[2]
        table = [HEADS.get(file, "| behaviour | source | direction | test |"), "|---|---|---|---|"]
        table += [str(row) for row in found if row.file == file]
        text = "\n".join([head + begin, *table, END]) + tail
    PAGE.write_text(text)
