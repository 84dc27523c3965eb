"""What the log of a process leaves out."""

import json
import logging

import pytest

from rescind_runtime import logs

OF_EVERY_TLS_CONNECTION = "returning true from eof_received() has no effect when using ssl"


def test_the_asyncio_warning_of_every_nats_tls_connection_is_left_out_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json")
    logger = logging.getLogger("asyncio")
    logger.warning(OF_EVERY_TLS_CONNECTION)
    logger.warning("socket.send() raised exception.")
    lines = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["socket.send() raised exception."]
