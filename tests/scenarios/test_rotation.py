"""Rotate and expire from the command line, seen by services at two sidecars."""

from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
from tests.scenarios.conftest import System, answers
from tests.support import rows
from tests.support.eventually import eventually_blocking

from rescind import Reason, Verifier
from rescind.client import Bearer
from rescind.core.secret import Secret
from rescind_runtime import data_dir


async def execute(system: System, sql: str) -> None:
    """Run SQL in the place of an authority: what it writes has a MAC."""
    place = Path(system.directory)
    dsn = data_dir.read_env(place)["RESCIND_POSTGRES_DSN"]
    async with rows.adopting(dsn, place / "keyring"):
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


def test_after_a_rotation_with_wait_no_service_accepts_the_old_secret(
    system: System, verifiers: list[Verifier]
) -> None:
    old = system.issue("agent:rotated", "--scope", "read")
    assert answers(verifiers, old["token"], "read") == {"accepted"}
    new = system.run("tokens", "rotate", old["token_id"], "--wait", "--reason", "quarterly")
    assert answers(verifiers, old["token"]) == {Reason.EXPIRED}
    assert answers(verifiers, new["token"], "read") == {"accepted"}
    assert new["token_id"] == old["token_id"]
    receipt = system.run("receipt", new["id"])["receipt"]
    assert {each["outcome"] for each in receipt["verifiers"]} == {"acknowledged"}
    shown = system.run("tokens", "show", old["token_id"])
    assert (shown["state"], shown["holds"]) == ("active", [])


def test_a_holder_rotates_its_own_secret_from_stdin_and_from_python(
    system: System, verifiers: list[Verifier]
) -> None:
    first = system.issue("agent:self-rotated")["token"]
    second = system.run("tokens", "rotate", "-", stdin=first)["token"]
    with Bearer(system.ready["authority"], Secret(second)) as bearer:
        third = bearer.rotate(overlap=60).token
    assert third is not None
    eventually_blocking(lambda: answers(verifiers, first) == {Reason.EXPIRED})
    assert answers(verifiers, second) == answers(verifiers, third.reveal()) == {"accepted"}


async def test_a_secret_seen_after_its_overlap_ends_the_token_everywhere(
    system: System, verifiers: list[Verifier]
) -> None:
    old = system.issue("agent:stolen-from")["token"]
    assert answers(verifiers, old) == {"accepted"}
    new = system.run("tokens", "rotate", "-", "--overlap", "2s", stdin=old)["token"]
    assert answers(verifiers, old) == answers(verifiers, new) == {"accepted"}
    # The overlap ends where the sidecars have it, and long ago where the authority has it.
    await execute(system, "UPDATE retired_secrets SET good_until = good_until - interval '1 h'")
    # The first sidecar to look it up ends the token, perhaps before the other one says `expired`.
    eventually_blocking(lambda: answers(verifiers, old) <= {Reason.EXPIRED, Reason.REVOKED})
    eventually_blocking(lambda: answers(verifiers, new) == {Reason.REVOKED})


def test_tokens_are_expired_by_name_and_by_filter(
    system: System, verifiers: list[Verifier]
) -> None:
    one, *rest = [system.issue("agent:ending", "--label", "batch=7") for _ in range(4)]
    other = system.issue("agent:ending", "--label", "batch=8")["token"]
    assert answers(verifiers, one["token"]) == {"accepted"}
    assert system.run("tokens", "expire", one["token_id"]) == {"changed": 1, "refused": 0}
    eventually_blocking(lambda: answers(verifiers, one["token"]) == {Reason.EXPIRED})
    assert system.run("tokens", "expire", one["token_id"], code=1)["refused"] == 1
    done = system.run("tokens", "expire", "--label", "batch=7", "--reason", "over", "--yes")
    assert done == {"changed": 3, "refused": 0}

    def expired(token: dict[str, Any]) -> bool:
        return answers(verifiers, token["token"]) == {Reason.EXPIRED}

    for token in rest:
        eventually_blocking(partial(expired, token))
    assert answers(verifiers, other) == {"accepted"}
    assert "give either token ids or filters" in str(system.usage("tokens", "expire"))
