"""Why a token is denied: every cause, where it lies, and what each sidecar says."""

import time
from typing import Any

import httpx2
from tests.integration.operations.conftest import System
from tests.support.eventually import eventually_blocking


def reasons(explained: dict[str, Any]) -> list[str]:
    return [cause["reason"] for cause in explained["causes"]]


def test_an_active_token_is_accepted_by_every_sidecar(system: System) -> None:
    issued = system.issue("agent:fine", "--scope", "read", "--scope", "write")
    explained = system.json("explain", "-", stdin=issued["token"])
    assert (explained["accepted"], explained["reason"], explained["causes"]) == (True, None, [])
    assert explained["may"]["scopes"] == ["read", "write"]
    assert explained["may"]["until"] == issued["expires_at"]
    assert [each["accepts"] for each in explained["sidecars"]] == [True, True]
    assert issued["token"] not in str(explained)


def test_a_token_revoked_by_its_subject_names_the_handle(system: System) -> None:
    issued = system.issue("agent:by-subject")
    command = ("revoke", "subject:agent:by-subject", "--reason", "went rogue")
    revoked = system.json(*command)
    explained = system.json("explain", issued["token_id"])
    (cause,) = explained["causes"]
    assert (explained["accepted"], cause["reason"]) == (False, "revoked")
    assert (cause["hold"], cause["why"]) == (revoked["id"], "went rogue")
    assert cause["actor"] == revoked["actor"]
    assert cause["actor"].startswith("admin:root tok_")
    assert cause["matched"] == ["chain:agent:by-subject: its own subject"]
    assert cause["since"] == revoked["committed_at"]
    assert explained["may"]["until"] is None


def test_both_of_two_revocations_are_shown_and_the_sidecars_agree(system: System) -> None:
    issued = system.issue("agent:twice", "--label", "team=x")
    system.json("revoke", f"token:{issued['token_id']}")
    system.json("revoke", "label:team=x", "subject:agent:twice", "--yes")
    explained = system.json("explain", "-", stdin=issued["token"])
    assert reasons(explained) == ["revoked", "revoked"]
    first, second = (cause["matched"] for cause in explained["causes"])
    assert first == [f"tree:{issued['token_id']}: its own id"]
    assert second == ["chain:agent:twice: its own subject", "label:team=x: its label"]

    def told() -> list[object]:
        sidecars = system.json("explain", "-", stdin=issued["token"])["sidecars"]
        return [each.get("reason") for each in sidecars]

    eventually_blocking(lambda: told() == ["revoked", "revoked"])


def test_an_expired_token_that_was_revoked_too_has_both_causes(system: System) -> None:
    issued = system.issue("agent:over", "--ttl", "1")
    system.json("revoke", f"token:{issued['token_id']}")
    eventually_blocking(
        lambda: reasons(system.json("explain", issued["token_id"])) == ["revoked", "expired"]
    )


def test_a_token_that_is_not_yet_valid_is_explained_as_usable_later(system: System) -> None:
    url, token = system.ready["authority"], (system.directory / "admin-token").read_text().strip()
    body = {"subject": "agent:early", "kind": "agent", "not_before": time.time() + 600}
    headers = {"authorization": f"Bearer {token}"}
    issued = httpx2.post(f"{url}/v1/tokens", json=body | {"ttl": 3600}, headers=headers).json()
    explained = system.json("explain", issued["token_id"])
    assert (explained["reason"], reasons(explained)) == ("not_yet_valid", ["not_yet_valid"])
    assert explained["may"]["from"] == issued["not_before"]
    assert explained["may"]["until"] == issued["expires_at"]


def test_a_rotated_secret_is_explained_and_sent_to_no_sidecar(system: System) -> None:
    issued = system.issue("agent:rotated", "--ttl", "600")
    rotated = system.json("tokens", "rotate", issued["token_id"])
    explained = system.json("explain", "-", stdin=issued["token"])
    assert (explained["accepted"], reasons(explained)) == (False, ["expired"])
    (cause,) = explained["causes"]
    assert "this secret was replaced at" in cause["says"]
    assert f"rescind tokens rotate {issued['token_id']}" in cause["advice"]
    assert rotated["id"] in cause["where"]
    assert explained["sidecars"] == []  # an operator who asks must not end the token
    explained = system.json("explain", "-", stdin=rotated["token"])
    assert (explained["accepted"], explained["causes"]) == (True, [])
    assert len(explained["sidecars"]) == 2


def test_the_text_output_explains_the_denial(system: System) -> None:
    issued = system.issue("agent:read", "--scope", "read")
    system.json("revoke", "subject:agent:read", "--reason", "tired of it")
    shown = system.rescind("explain", issued["token_id"]).stdout
    for words in ("denied  revoked", "tired of it", "admin:root", "its own subject", "rev_"):
        assert words in shown


def test_a_token_in_argv_is_refused_and_not_repeated(system: System) -> None:
    issued = system.issue("agent:argv")
    ended = system.rescind("explain", issued["token"])
    assert ended.returncode == 2
    assert issued["token"] not in ended.stdout + ended.stderr


def test_a_text_that_is_not_a_token_is_refused_with_an_error(system: System) -> None:
    for arguments, stdin in ((("explain", "-"), "hello"), (("explain", "tok_nothing"), "")):
        ended = system.rescind(*arguments, stdin=stdin)
        assert ended.returncode == 1
        assert ended.stderr.startswith("rescind: ")
