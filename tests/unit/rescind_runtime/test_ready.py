"""One line of JSON tells a parent that its child is ready."""

import pytest

from rescind_runtime import ready


def test_what_is_announced_is_what_is_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    ready.announce(http="http://127.0.0.1:1", pid=7)
    line = capsys.readouterr().out
    assert line == '{"ready":true,"http":"http://127.0.0.1:1","pid":7}\n'
    assert ready.parse(line.encode()) == {"http": "http://127.0.0.1:1", "pid": 7}


@pytest.mark.parametrize("line", [b"", b"hello", b"[]", b"{}", b'{"ready":false}', b"\xff"])
def test_anything_else_is_no_ready_line(line: bytes) -> None:
    assert ready.parse(line) is None
