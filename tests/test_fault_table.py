"""Every line of the page on faults names a test, and that test exists."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "user_guide" / "faults.md"


def test_the_tests_of_the_page_on_faults_exist():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| ---") and "| test |" not in row]
    assert len(rows) > 40
    defined = set()
    for path in TESTS.rglob("test_*.py"):
        defined.update(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named, row
        assert named <= defined, named - defined
