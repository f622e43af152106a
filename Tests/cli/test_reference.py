"""The reference follows from the programs."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / "Deploy" / "generate-cli-docs.py"


def test_the_page_is_current():
    done = subprocess.run([GENERATOR, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_of_several_lines_fits_a_terminal():
    """One line is broken by the program; of several, each longer than a terminal's would be broken again."""
    blocks = (ROOT / "Docs" / "cli.md").read_text().split("```text\n")[1:]
    lines = [line for block in blocks if (text := block.split("```")[0]).count("\n") > 1 for line in text.split("\n")]
    assert len(lines) > 100 and [line for line in lines if len(line) > 80] == []


def test_man_pages_are_made_for_every_command(tmp_path):
    subprocess.run([GENERATOR, "--man", tmp_path], check=True, capture_output=True)
    pages = {page.name for page in tmp_path.iterdir()}
    assert {"skein.1", "skein-topic-create.1", "skein-bench-mixed.1", "skeind.8", "skeind-check-config.8"} <= pages
    text = (tmp_path / "skein-consume.1").read_text()
    assert text.startswith(".TH") and "\\-\\-follow" in text
