"""Each row of the threat model says what stops the attacker, and which test shows it."""

from tests.support.documents import DOCS

PAGE = DOCS / "threat-model.md"


def test_every_threat_names_its_defence_and_a_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| a")]
    assert len(rows) > 30
    for row in rows:
        _, attacker, stopped_by, test, _ = (cell.strip() for cell in row.split("|"))
        if attacker != "attacker":
            assert stopped_by, row
            assert "test_" in test, row
