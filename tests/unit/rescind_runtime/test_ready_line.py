"""One line of JSON tells a parent that its child is ready."""

import pytest

from rescind_runtime import ready_line


def test_an_announced_ready_line_is_parsed_back(capsys: pytest.CaptureFixture[str]) -> None:
    ready_line.announce(http="http://127.0.0.1:1", pid=7)
    line = capsys.readouterr().out
    assert line == '{"ready":true,"http":"http://127.0.0.1:1","pid":7}\n'
    assert ready_line.parse(line.encode()) == {"http": "http://127.0.0.1:1", "pid": 7}


@pytest.mark.parametrize("line", [b"", b"hello", b"[]", b"{}", b'{"ready":false}', b"\xff"])
def test_any_other_line_is_not_a_ready_line(line: bytes) -> None:
    assert ready_line.parse(line) is None


def test_a_line_that_reports_not_ready_states_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ready_line.announce(ready=False, why="its credential was revoked", pid=7)
    line = capsys.readouterr().out.encode()
    assert line == b'{"ready":false,"why":"its credential was revoked","pid":7}\n'
    assert (ready_line.parse(line), ready_line.refusal(line)) == (
        None,
        "its credential was revoked",
    )
    for other in (b"", b"hello", b"[]", b"{}", b'{"ready":false}', b'{"ready":true,"why":"x"}'):
        assert ready_line.refusal(other) is None
