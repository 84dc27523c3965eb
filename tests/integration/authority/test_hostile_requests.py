"""Requests that are well formed and mean harm: nothing of them is kept that cannot be shown."""

from typing import Any

import httpx2
import pytest
from tests.support.authority import Running, System, serving

NO_TIMES = (
    "9999-12-31T23:59:59-10:00",  # the year 10000 in UTC
    "9999-12-31T23:59:59.999999Z",  # which Postgres, by its interval's double, rounds to it
    "0001-01-01T00:00:00+10:00",
)
AGENT = {"subject": "agent:a", "kind": "agent"}


async def head(running: Running) -> int:
    """Give the ledger's last seq."""
    return int((await running.http.get("/v1/fleet")).json()["seq"])


@pytest.mark.parametrize("moment", NO_TIMES)
async def test_a_time_at_the_end_of_the_calendar_is_refused_before_it_is_in_the_ledger(
    system: System, moment: str
) -> None:
    # It was committed, and then no list of revocations could be written any more.
    async with serving(system) as running:
        deed = {"selector": ["subject:agent:a"], "effect": "suspend"}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("/v1/revocations", {**deed, "until": moment}),
            ("/v1/revocations", {**deed, "issued_before": moment, "effect": "revoke"}),
            ("/v1/revocations/batch", {"revocations": [{**deed, "until": moment}]}),
            ("/v1/tokens", {**AGENT, "not_before": moment}),
            ("/v1/tokens/tok_x/expire", {"at": moment}),
            ("/v1/tokens/expire", {"token_ids": ["tok_x"], "at": moment}),
        ]
        for path, body in calls:
            refused = await running.http.post(path, json=body)
            assert refused.status_code == httpx2.codes.UNPROCESSABLE_CONTENT, (path, refused.text)
        listed = await running.http.get("/v1/tokens", params={"issued_after": moment})
        assert listed.status_code == httpx2.codes.UNPROCESSABLE_CONTENT
        assert await head(running) == 0
        assert (await running.http.get("/v1/revocations")).json()["revocations"] == []


async def test_the_last_moment_that_is_taken_is_shown(system: System) -> None:
    async with serving(system) as running:
        await running.revoke("subject:agent:a", effect="suspend", until="9998-12-31T23:59:59-12:00")
        (shown,) = (await running.http.get("/v1/revocations")).json()["revocations"]
        assert shown["until"].startswith("9999-01-01T11:59:59")


@pytest.mark.parametrize("sent", ["1" * 5_000, "9" * 20, "-1", "1e3", "\u0661"])
async def test_a_last_event_id_that_is_no_seq_is_refused(system: System, sent: str) -> None:
    async with serving(system) as running:
        headers = {"last-event-id": sent.encode()}
        refused = await running.http.get("/v1/events", headers=headers)
        assert refused.status_code == httpx2.codes.UNPROCESSABLE_CONTENT
