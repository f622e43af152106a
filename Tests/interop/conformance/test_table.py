"""Docs/conformance.md says what is tested: no row without its test, no test without its row.

`CONFORMANCE_WRITE=1` writes the rows anew.
"""

import os

import rows


def test_page_and_tests_agree():
    found = rows.collect()
    if os.environ.get("CONFORMANCE_WRITE"):
        rows.write(found)
    expected, written = [str(row) for row in found], rows.documented()
    assert len(expected) == len(set(expected)), "two tests share a row"
    assert sorted(set(written) - set(expected)) == [], "rows without a test"
    assert sorted(set(expected) - set(written)) == [], "tests without a row: run with CONFORMANCE_WRITE=1"
    assert len(written) == len(expected)
