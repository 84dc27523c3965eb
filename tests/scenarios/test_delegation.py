"""An orchestrator hands parts of its power on, three levels deep, and one branch is cut off.

From the command line, over HTTP, by token exchange and with the SDK, each as its user meets it.
"""

import time

import httpx2
from tests.scenarios.conftest import System
from tests.support.eventually import eventually_blocking

from rescind import Allowed, Denied, Reason, Verifier
from rescind.client import Bearer
from rescind.core.secret import Secret

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def accepted(verifiers: list[Verifier], token: str) -> bool:
    return all(isinstance(verifier.check(token), Allowed) for verifier in verifiers)


def revoked(verifiers: list[Verifier], token: str) -> bool:
    return all(verifier.check(token) == Denied(Reason.REVOKED) for verifier in verifiers)


def test_revoking_a_branch_ends_all_below_it_and_spares_the_rest(
    system: System, verifiers: list[Verifier]
) -> None:
    url = system.ready["authority"]
    top, top_id = system.made(
        *("issue", "--subject", "agent:o", "--kind", "agent", "--scope", "tools:*"),
        *("--label", "run=7"),
    )
    middle, middle_id = system.made(
        *("delegate", "--subject", "agent:o/search", "--scope", "tools:search:*"), stdin=f"{top}\n"
    )
    sibling, _ = system.made(
        *("delegate", "--subject", "agent:o/mail", "--scope", "tools:mail"), RESCIND_TOKEN=top
    )
    cousin, _ = system.made(
        *("issue", "--parent", "-", "--subject", "agent:o/pay", "--scope", "tools:pay"), stdin=top
    )
    below = httpx2.post(
        f"{url}/v1/delegations",
        json={"subject": "agent:o/search/web", "scopes": ["tools:search:web"]},
        headers={"Authorization": f"Bearer {middle}"},
    ).json()
    exchanged = httpx2.post(
        f"{url}/oauth/token",
        data={
            "grant_type": EXCHANGE,
            "subject_token": middle,
            "subject_token_type": ACCESS_TOKEN,
            "subject": "agent:o/search/files",
            "scope": "tools:search:files",
        },
    ).json()
    with Bearer(url, Secret(below["token"])) as bearer:
        lowest = bearer.delegate(
            subject="agent:o/search/web/page", scopes=["tools:search:web"], ttl=60
        )
    assert lowest.token is not None
    family = [middle, below["token"], exchanged["access_token"], lowest.token.reveal()]
    others = [top, sibling, cousin]
    assert all(accepted(verifiers, token) for token in (*family, *others))

    sidecar = system.ready["sidecars"][0]
    seen = httpx2.get(
        f"{sidecar['http']}/verify", headers={"Authorization": f"Bearer {family[-1]}"}
    )
    assert seen.status_code == 200
    assert seen.headers["x-rescind-chain"] == "agent:o agent:o/search agent:o/search/web"
    assert seen.headers["x-rescind-subject"] == "agent:o/search/web/page"
    shown = system.rescind("tokens", "show", lowest.token_id).stdout
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert facts["lineage"] == f"{top_id} {middle_id} {below['token_id']}"
    assert facts["chain"] == "agent:o agent:o/search agent:o/search/web"
    assert facts["labels"] == "run=7"

    run = system.rescind("revoke", f"tree:{middle_id}", "--wait", "--reason", "it went rogue")
    assert run.returncode == 0, run.stderr
    assert all(revoked(verifiers, token) for token in family)
    assert all(accepted(verifiers, token) for token in others)

    run = system.rescind("delegate", "--subject", "agent:o/search/again", stdin=middle)
    assert run.returncode == 1
    assert "revoked" in run.stderr
    assert system.made("delegate", "--subject", "agent:o/search", stdin=top)

    assert system.rescind("revoke", f"tree:{top_id}", "--wait").returncode == 0
    assert all(revoked(verifiers, token) for token in (*family, *others))


def test_everything_that_exceeds_the_parent_is_reported_in_one_message(system: System) -> None:
    parent, _ = system.made(
        *("issue", "--subject", "agent:p", "--kind", "agent", "--scope", "a", "--max-depth", "1"),
        *("--may-speak-for", "user:*"),
    )
    child, _ = system.made("delegate", "--subject", "user:42", "--scope", "a", stdin=parent)
    run = system.rescind("delegate", "--subject", "user:42/x", "--scope", "b", stdin=child)
    assert run.returncode == 1
    assert "max_depth" in run.stderr
    assert "the parent does not have b" in run.stderr
    run = system.rescind("delegate", "--subject", "agent:p/x")
    assert run.returncode == 2  # no parent, neither on stdin nor in RESCIND_TOKEN
    run = system.rescind("issue", "--subject", "agent:p/x")
    assert (run.returncode, "--kind" in run.stderr) == (2, True)


def test_eventually_a_child_ends_with_its_parent(system: System, verifiers: list[Verifier]) -> None:
    began = time.monotonic()
    system.made("issue", "--subject", "agent:s", "--kind", "agent")
    command_s = time.monotonic() - began  # on a busy machine several seconds
    ttl = ("--ttl", f"{3 + 4 * command_s:.0f}")
    parent, _ = system.made("issue", "--subject", "agent:s", "--kind", "agent", *ttl)
    child, _ = system.made("delegate", "--subject", "agent:s/a", stdin=parent)
    assert accepted(verifiers, child)
    eventually_blocking(lambda: verifiers[0].check(child) == Denied(Reason.EXPIRED), deadline_s=100)
