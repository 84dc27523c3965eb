"""Receipts after a new epoch: verifiers that the restored ledger does not know may be in grace."""

import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually
from tests.support.processes import clean_environment
from tests.support.rows import guard

from rescind_authority.operator import bootstrap
from rescind_authority.postgres import pool
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.postgres.receipts import PostgresReceipts

TERM_S = 0.5
HOUR_MS = 3_600_000
_ENFORCED, _GRACE = 0, 3


async def rescind(system: System, running: Running | None, *arguments: str) -> tuple[int, str]:
    """Run one command; return its exit status and what it wrote."""
    named = {"RESCIND_ADMIN_TOKEN_FILE": str(system.settings.admin_token_path)}
    if running is not None:
        named["RESCIND_URL"] = running.url
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rescind_cli", *arguments),
        env=clean_environment(
            RESCIND_DATA=str(system.settings.data), RESCIND_POSTGRES_DSN=system.dsn, **named
        ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written, _ = await process.communicate()
    return process.returncode or 0, written.decode()


async def new_epoch(system: System, *options: str) -> None:
    status, said = await rescind(system, None, "ledger", "new-epoch", "--yes", *options)
    assert status == 0, said


async def posted(running: Running, path: str, **body: object) -> Any:
    answer = await running.http.post(path, json=body | {"wait": True})
    assert answer.is_success, answer.text
    return answer.json()["receipt"]


async def test_every_receipt_of_a_new_epoch_states_that_a_verifier_may_be_unknown(
    system: System,
) -> None:
    system = system.but(term=TERM_S)
    await bootstrap.prepare(system.settings)
    async with serving(system) as running:
        ids = [(await running.issue(f"agent:{number}"))["token_id"] for number in range(3)]
        assert (await posted(running, "/v1/revocations", selector=["tenant:a"]))[
            "unknown_grace_until"
        ] is None
        began = time.time()
        await new_epoch(system)

        async def epoch() -> bool:
            return bool((await running.http.get("/v1/fleet")).json()["epoch"] > 1)

        await eventually(epoch)
        receipts = await asyncio.gather(
            posted(running, "/v1/revocations", selector=["tenant:b"]),
            posted(running, "/v1/revocations", selector=["tenant:b"], effect="suspend"),
            posted(
                running, "/v1/revocations", selector=["tenant:b"], effect="narrow", scopes=["a"]
            ),
            posted(running, "/v1/revocations", selector=["chain:agent:x"], effect="kill"),
            posted(running, "/v1/revocations/batch", revocations=[{"selector": ["tenant:c"]}]),
            posted(running, f"/v1/tokens/{ids[0]}/rotate"),
            posted(running, f"/v1/tokens/{ids[1]}/expire"),
        )
    least_s = began + 1.2 * HOUR_MS / 1000
    for receipt in receipts:
        until = receipt["unknown_grace_until"]
        assert until is not None
        assert least_s < _unix_s(until) < time.time() + 1.2 * HOUR_MS / 1000 + 5


async def test_the_command_line_reports_an_unknown_verifier_with_exit_3_also_by_a_later_authority(
    system: System, tmp_path: Path
) -> None:
    system = system.but(term=TERM_S)
    await bootstrap.prepare(system.settings)
    await new_epoch(system)
    # What the wall clock showed when the epoch began decides nothing: it may have been set.
    await system.rows("UPDATE ledger_epochs SET began_at = began_at - interval '2 days'")
    async with serving(system) as running:
        status, said = await rescind(
            system, running, "revoke", "tenant:a", "--yes", "--wait", "--json"
        )
        assert status == _GRACE, said
        # Besides the receipt there is a warning: it hit nothing.
        (document,) = (line for line in said.splitlines() if "receipt" in line)
        done = json.loads(document)
        until = done["receipt"]["unknown_grace_until"]
        for command in (
            ("suspend", "tenant:b", "--yes", "--wait"),
            ("kill", "agent:x", "--wait"),
            ("receipt", done["id"]),
        ):
            status, said = await rescind(system, running, *command)
            assert status == _GRACE, said
            assert "sidecars that it does not list may be in grace until" in said
        (tmp_path / "receipt.json").write_text(json.dumps(done))
        verified = ("receipt", "--verify", str(tmp_path / "receipt.json"))
        status, said = await rescind(system, None, *verified)
        assert status == 0, said
        assert f"may be in grace until {until}" in said
        done["receipt"]["unknown_grace_until"] = None
        (tmp_path / "receipt.json").write_text(json.dumps(done))
        status, said = await rescind(system, None, *verified)
        assert status == 1, said


async def test_if_the_operator_states_that_all_verifiers_are_strict_receipts_stay_complete(
    system: System,
) -> None:
    system = system.but(term=TERM_S)
    await bootstrap.prepare(system.settings)
    await new_epoch(system, "--longest-grace", "0")
    async with serving(system) as running:
        status, said = await rescind(system, running, "revoke", "tenant:a", "--yes", "--wait")
        assert status == _ENFORCED, said
        # Watched for a full wait: that is noted with the epoch, for an authority that starts later.
        await eventually(
            lambda: _longest_grace_of_unknown_verifiers(system), until=lambda found: found is None
        )
    status, said = await rescind(
        system, None, "ledger", "new-epoch", "--yes", "--longest-grace", "2h"
    )
    assert status == 2, said
    assert "longest possible grace period is 1h" in said


async def test_an_epoch_stores_the_longest_grace_of_an_unknown_verifier(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    assert await _longest_grace_of_unknown_verifiers(system) is None
    await bootstrap.new_epoch(system.settings, unknown_grace_ms=90_000)
    assert await _longest_grace_of_unknown_verifiers(system) == 90_000
    await bootstrap.new_epoch(system.settings, unknown_grace_ms=HOUR_MS)
    assert await _longest_grace_of_unknown_verifiers(system) == HOUR_MS
    # Who was unknown to the last epoch, and may be in grace still, is unknown to the next one.
    await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
    assert await _longest_grace_of_unknown_verifiers(system) == HOUR_MS
    async with pool.connect(system.dsn) as postgres:
        epoch = (await PostgresEpochs(postgres, guard(system.settings)).known())[-1].number
        await PostgresReceipts(postgres).settle_epoch(epoch)
    await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
    assert await _longest_grace_of_unknown_verifiers(system) == 0


async def _longest_grace_of_unknown_verifiers(system: System) -> int | None:
    rows = await system.rows(
        "SELECT unknown_grace_ms FROM ledger_epochs JOIN ledger_head USING (epoch)"
    )
    grace_ms: int | None = rows[0]["unknown_grace_ms"]
    return grace_ms


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
