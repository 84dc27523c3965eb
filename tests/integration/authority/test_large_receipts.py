"""A receipt of very many verifiers: on a real Postgres, over HTTP, and offline."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.authority import Running, System, serving
from tests.support.processes import clean_environment

from rescind.client import AsyncAdmin
from rescind.core.secret import Secret
from rescind_authority.operator import bootstrap

VERIFIERS = 26_000
"""More than one message holds: a complete receipt of 24,000 was signed, and not read again."""
RELEASED = 2_000
GRACE = 3

# An instance that acknowledged a later event has applied this one. A released instance answers
# nothing. An instance that was released before the event would not be listed.
_FILL = """
INSERT INTO leases (instance, service, host, version_text, posture, counter, epoch, applied_seq,
                    acked_seq, first_seen, last_seen, released_at)
SELECT decode(lpad(to_hex(place), 32, '0'), 'hex'), 'service-' || place % 30, 'host', '0.1.0',
       'strict', 1, 1, 1000000, 1000000, now(), now(),
       CASE WHEN place <= $2 THEN now() + interval '5 min' END
FROM generate_series(1, $1::integer) AS place
"""
_FORGET = "UPDATE leases SET acked_seq = 0 WHERE released_at IS NOT NULL"


async def filled(authority: Running) -> dict[str, Any]:
    """Revoke beside very many verifiers, and wait for the receipt; return the answer."""
    await authority.system.rows(_FILL, VERIFIERS, RELEASED)
    await authority.system.rows(_FORGET)
    done = await authority.revoke("subject:agent:a")
    # On a busy machine it takes longer than the test's client waits for others.
    path = f"/v1/revocations/{done['id']}/receipt"
    found: dict[str, Any] = (await authority.http.get(path, timeout=60)).json()
    return found


async def rescind(authority: Running, *arguments: str) -> "subprocess.CompletedProcess[str]":
    token = authority.system.settings.admin_token_path.read_text().strip()
    environment = clean_environment(
        RESCIND_URL=authority.url,
        RESCIND_ADMIN_TOKEN=token,
        RESCIND_DATA=str(authority.system.settings.data),
    )
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "rescind_cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.timeout(240)
async def test_a_receipt_of_very_many_verifiers_is_stored_paged_and_verified_offline(
    system: System, tmp_path: Path
) -> None:
    async with serving(system) as authority:
        done = await filled(authority)
        receipt = done["receipt"]
        assert done["state"] == "enforced"
        summary = receipt["summary"]
        assert (summary["acknowledged"], summary["released"], summary["lapsed"]) == (
            VERIFIERS - RELEASED,
            RELEASED,
            0,
        )
        assert (len(receipt["verifiers"]), receipt["next"]) == (1_000, "1000")
        assert len(json.dumps(receipt)) < 1 << 19

        # Looked at again by its id it is the same; a page may be smaller.
        path = f"/v1/revocations/{done['id']}"
        assert (await authority.http.get(path)).json()["receipt"] == receipt
        page = (await authority.http.get(f"{path}/receipt?cursor=1500&limit=20")).json()["receipt"]
        assert (len(page["verifiers"]), page["next"]) == (20, "1520")
        assert page["content"] == receipt["content"]
        beyond = (await authority.http.get(f"{path}/receipt?cursor=999999999")).json()["receipt"]
        assert (beyond["verifiers"], beyond["next"]) == ([], None)
        for wrong in ("cursor=0", "cursor=x", "limit=0", "limit=1001"):
            assert (await authority.http.get(f"{path}/receipt?{wrong}")).status_code == 422

        # The command line writes all of it, which is verified without the authority.
        written = await rescind(authority, "receipt", done["id"], "--json")
        assert written.returncode == 0, written.stderr
        file = tmp_path / "receipt.json"
        file.write_text(written.stdout, encoding="utf-8")
        whole = json.loads(written.stdout)["receipt"]
        assert len({each["instance"] for each in whole["verifiers"]}) == VERIFIERS
        genuine = await rescind(authority, "receipt", "--verify", str(file))
        assert genuine.returncode == 0, genuine.stderr
        assert f"50 of {VERIFIERS:,}" in genuine.stdout
        assert len(genuine.stdout.splitlines()) < 90

        # Details that were changed in Postgres are not shown; the signed summary still is.
        await system.rows("UPDATE receipt_details SET chunk = chunk || '\\x00' WHERE number = 2")
        altered = await authority.http.get(f"{path}/receipt?cursor=2000")
        assert altered.status_code == 500
        assert altered.json()["type"] == "urn:rescind:problem:receipt-altered"
        assert (await authority.http.get(f"{path}/receipt")).json()["receipt"] == receipt


async def test_changed_details_in_the_file_are_detected(system: System, tmp_path: Path) -> None:
    async with serving(system) as authority:
        await system.rows(_FILL, 1_500, 0)
        done = await authority.revoke("subject:agent:a", wait=True)
        file = tmp_path / "receipt.json"
        written = (await rescind(authority, "receipt", done["id"], "--json")).stdout
        changed = json.loads(written)["receipt"]["verifiers"][1_234]["instance"]
        file.write_text(written.replace(changed, "f" * 32), encoding="utf-8")
        refused = await rescind(authority, "receipt", "--verify", str(file))
        assert refused.returncode == 1
        assert "its verifiers were changed" in refused.stderr


async def test_a_summary_of_a_new_epoch_states_that_a_verifier_may_be_unknown(
    system: System, tmp_path: Path
) -> None:
    system = system.but(term=3)
    await bootstrap.prepare(system.settings)
    await system.rows(_FILL, 1_500, 0)
    await bootstrap.new_epoch(system.settings, unknown_grace_ms=60_000)
    async with serving(system) as authority:
        # Of those that the backup knows, none is: all of them lapse, after this event.
        done = await authority.revoke("subject:agent:b")
        written = await rescind(authority, "receipt", done["id"], "--json")
        assert written.returncode == GRACE, written.stderr
        receipt = json.loads(written.stdout)["receipt"]
        assert (receipt["summary"]["lapsed"], receipt["summary"]["grace"]) == (1_500, 0)
        assert (len(receipt["verifiers"]), receipt["grace"]) == (1_500, [])
        page = f"/v1/revocations/{receipt['revocation_id']}/receipt?cursor=1000"
        later = (await authority.http.get(page)).json()["receipt"]
        assert later["unknown_grace_until"] == receipt["unknown_grace_until"] is not None
        file = tmp_path / "receipt.json"
        file.write_text(written.stdout, encoding="utf-8")
        genuine = await rescind(authority, "receipt", "--verify", str(file))
        assert genuine.returncode == 0, genuine.stderr
        assert f"may be in grace until {receipt['unknown_grace_until']}" in genuine.stdout
        # They had ended before the next one, which lists none of them.
        shown = await rescind(authority, "revoke", "subject:agent:a", "--wait")
        assert shown.returncode == GRACE, shown.stderr
        assert "sidecars that it does not list may be in grace until" in shown.stdout
        assert "lapsed" not in shown.stdout


async def test_the_client_reads_all_pages_and_a_small_receipt_has_one(
    system: System,
) -> None:
    async with serving(system) as authority:
        small = await authority.revoke("subject:agent:b", wait=True)
        assert (small["receipt"]["verifiers"], small["receipt"]["next"]) == ([], None)
        await system.rows(_FILL, 2_345, 0)
        large = await authority.revoke("subject:agent:a", wait=True)
        token = Secret(system.settings.admin_token_path.read_text().strip())
        async with AsyncAdmin(authority.url, token) as admin:
            for done, pages, verifiers in ((small, 1, 0), (large, 3, 2_345)):
                found = [page async for page in admin.receipt_pages(done["id"])]
                assert len(found) == pages
                instances = {each["instance"] for page in found for each in page["verifiers"]}
                assert len(instances) == verifiers


async def test_the_details_of_a_second_receipt_are_not_stored(system: System) -> None:
    async with serving(system) as authority:
        await system.rows(_FILL, 1_500, 0)
        done = await authority.revoke("subject:agent:a")
        path = f"/v1/revocations/{done['id']}/receipt"
        answers = await asyncio.gather(*(authority.http.get(path) for _ in range(5)))
        (content,) = {each.json()["receipt"]["content"] for each in answers}
        assert content
        (row,) = await system.rows("SELECT count(*) AS chunks FROM receipt_details")
        assert row["chunks"] == 2
