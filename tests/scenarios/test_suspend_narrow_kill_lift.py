"""Suspend, narrow, kill and lift as an operator uses them, seen by services at two sidecars."""

import httpx2
from tests.scenarios.conftest import System, answers
from tests.support.eventually import eventually_blocking

from rescind import Allowed, Reason, Verifier


def test_a_suspension_denies_everywhere_and_a_lift_ends_that(
    system: System, verifiers: list[Verifier]
) -> None:
    token = system.issue("agent:held")["token"]
    assert answers(verifiers, token) == {"accepted"}
    suspended = system.run("suspend", "subject:agent:held", "--reason", "odd", "--wait")
    assert (suspended["state"], suspended["effect"]) == ("enforced", "suspend")
    assert answers(verifiers, token) == {Reason.SUSPENDED}
    assert system.run("check", code=1, stdin=token)["reason"] == "suspended"
    refused = system.run("issue", "--subject", "agent:held", "--kind", "agent", code=1)
    assert refused["error"]["type"] == "urn:rescind:problem:held"
    lifted = system.run("lift", suspended["id"], "--reason", "ours", "--wait")
    assert (lifted["state"], lifted["lifts"]) == ("enforced", suspended["id"])
    assert answers(verifiers, token) == {"accepted"}
    assert system.run("lift", lifted["id"], code=1)["error"]["status"] == 409


def test_a_narrow_removes_its_pattern_and_leaves_the_rest(
    system: System, verifiers: list[Verifier]
) -> None:
    scopes = ("--scope", "read", "--scope", "tools:x", "--scope", "tools:y")
    issued = system.issue("agent:narrowed", *scopes)
    token = issued["token"]
    assert answers(verifiers, token, "read", "tools:x") == {"accepted"}
    narrowed = system.run("narrow", f"token:{issued['token_id']}", "--remove", "tools:x", "--wait")
    assert answers(verifiers, token, "tools:x") == {Reason.INSUFFICIENT_SCOPE}
    assert answers(verifiers, token, "read", "tools:y") == {"accepted"}
    told = system.run("explain", issued["token_id"])
    assert (told["accepted"], told["may"]["taken_away"]) == (True, ["tools:x"])
    system.run("lift", narrowed["id"], "--wait")
    assert answers(verifiers, token, "tools:x") == {"accepted"}


def test_every_interface_shows_the_scopes_that_are_left_after_a_narrow(
    system: System, verifiers: list[Verifier]
) -> None:
    scopes = ("--scope", "read", "--scope", "tools:*", "--scope", "mail:send")
    issued = system.issue("agent:told", *scopes)
    token = issued["token"]
    assert answers(verifiers, token, "tools:x") == {"accepted"}
    removed = ("--remove", "mail:send", "--remove", "tools:call:*")
    system.run("narrow", f"token:{issued['token_id']}", *removed, "--wait")
    told = {
        "scopes": ["read"],
        "scopes_granted": ["mail:send", "read", "tools:*"],
        "scopes_removed": ["mail:send", "tools:call:*"],
    }
    headers = {"Authorization": f"Bearer {token}"}
    for sidecar in system.ready["sidecars"]:
        verified = httpx2.get(f"{sidecar['http']}/verify", headers=headers).headers
        assert verified["x-rescind-scopes"] == "read"
        assert verified["x-rescind-scopes-removed"] == "mail:send tools:call:*"
        checked = httpx2.post(f"{sidecar['http']}/v1/check", json={"token": token}).json()
        assert told.items() <= checked["record"].items()
    for verifier in verifiers:
        verdict = verifier.check(token)
        assert isinstance(verdict, Allowed)
        record = verdict.record
        assert (record.scopes, sorted(record.granted)) == (
            frozenset({"read"}),
            told["scopes_granted"],
        )
    assert answers(verifiers, token, "tools:x") == {"accepted"}  # nothing took that away
    assert told.items() <= system.run("check", stdin=token)["record"].items()
    line = system.shown("check", stdin=token).split("  ")
    assert (line[2], line[-1].strip()) == ("read", "without mail:send tools:call:*")
    seen = system.run("tokens", "show", issued["token_id"])
    assert (seen["scopes_left"], seen["scopes_removed"]) == (["read"], told["scopes_removed"])
    assert system.run("explain", issued["token_id"])["may"]["scopes"] == ["read"]
    assert "-tools:call:*" in system.shown("tokens", "ls", "--subject", "agent:told")


def test_a_kill_denies_a_subject_until_the_lift(system: System, verifiers: list[Verifier]) -> None:
    token = system.issue("agent:rogue")["token"]
    assert answers(verifiers, token) == {"accepted"}
    killed = system.run("kill", "agent:rogue", "--reason", "went rogue", "--wait")
    assert (killed["state"], killed["effect"]) == ("enforced", "kill")
    assert killed["receipt"]["seq"] == killed["seq"]
    assert answers(verifiers, token) == {Reason.REVOKED}
    system.run("issue", "--subject", "agent:rogue", "--kind", "agent", code=1)
    system.run("lift", killed["id"], "--wait")
    assert answers(verifiers, token) == {Reason.REVOKED}
    assert answers(verifiers, system.issue("agent:rogue")["token"]) == {"accepted"}


def test_a_timed_suspension_ends_by_itself(system: System, verifiers: list[Verifier]) -> None:
    token = system.issue("agent:for-a-while")["token"]
    suspended = system.run("suspend", "subject:agent:for-a-while", "--until", "3s", "--wait")
    eventually_blocking(lambda: answers(verifiers, token) == {"accepted"})
    with system.admin() as admin:
        assert admin.revocation(suspended["id"])["lifted_at"] >= suspended["until"]


def test_the_effects_work_the_same_through_the_sdk(
    system: System, verifiers: list[Verifier]
) -> None:
    token = system.issue("agent:sdk", "--scope", "a", "--scope", "b")["token"]
    with system.admin() as admin:
        suspended = admin.suspend("subject:agent:sdk", reason="odd", wait=True)
        assert answers(verifiers, token) == {Reason.SUSPENDED}
        narrowed = admin.narrow("subject:agent:sdk", remove=["b"], wait=True)
        admin.lift(suspended["id"], wait=True)
        assert answers(verifiers, token, "a") == {"accepted"}
        assert answers(verifiers, token, "b") == {Reason.INSUFFICIENT_SCOPE}
        admin.lift(narrowed["id"], wait=True)
        assert isinstance(verifiers[0].check(token, require={"b"}), Allowed)
        assert admin.kill("agent:sdk", wait=True)["effect"] == "kill"
        assert answers(verifiers, token) == {Reason.REVOKED}


def test_standing_revocations_are_found_by_their_handles_and_lifted(system: System) -> None:
    system.issue("agent:lost")
    suspended = system.run("suspend", "subject:agent:lost", "--until", "1h", "--reason", "odd")
    narrowed = system.run("narrow", "chain:agent:lost", "label:a=b", "--remove", "x:*")
    killed = system.run("kill", "agent:lost/child")
    revoked = system.run("revoke", "subject:agent:lost")

    def standing(*handles: str) -> list[tuple[str, str]]:
        named = (argument for handle in handles for argument in ("--handle", handle))
        found = system.run("revocations", "ls", "--standing", *named)["revocations"]
        return [(each["id"], each["effect"]) for each in found]

    kill, narrow = (killed["id"], "kill"), (narrowed["id"], "narrow")
    suspend = (suspended["id"], "suspend")
    assert standing("chain:agent:lost") == [narrow, suspend]
    assert standing("label:a=b", "chain:agent:lost/child") == [kill, narrow]
    told = system.run("subjects", "show", "agent:lost/child")["standing"]
    assert [each["id"] for each in told] == [killed["id"], narrowed["id"], suspended["id"]]
    lines = system.shown("subjects", "show", "agent:lost/child").splitlines()
    assert lines[0] == f"hit by  kill of chain:agent:lost/child ({killed['id']})"
    assert "in 59 min" in system.shown("revocations", "ls", "--standing")
    shown = [
        line.split() for line in system.shown("revocations", "show", revoked["id"]).splitlines()
    ]
    assert ["selector", "chain:agent:lost"] in shown
    for each in (suspended, narrowed, killed):
        system.run("lift", each["id"])
    assert standing("chain:agent:lost", "chain:agent:lost/child") == []
    assert "lifted" in system.shown("revocations", "ls")
    assert "--handle requires --standing" in system.usage("revocations", "ls", "--handle", "*")
