"""What doctor makes of the files of an installation."""

from pathlib import Path

import pytest

from rescind_cli.doctor import files
from rescind_cli.settings import LocalSettings


@pytest.mark.parametrize(
    ("mode", "level"),
    [(0o700, "ok"), (0o711, "warning"), (0o755, "warning"), (0o775, "failed"), (0o777, "failed")],
)
def test_a_directory_that_up_accepts_fails_only_where_others_may_change_it(
    tmp_path: Path, mode: int, level: str
) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    found = {each.part: each for each in files.check(LocalSettings(directory, {}, ({},)))}
    judged = found["data directory"]
    assert judged.level == level
    assert judged.advice.startswith(f"chmod 0700 {directory}") == (level != "ok")
