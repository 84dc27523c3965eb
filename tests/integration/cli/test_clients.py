"""`rescind clients`: an OAuth client from its registration to its removal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from tests.integration.cli.conftest import Rescind
from tests.support import oauth


def _token(ready: Mapping[str, Any], client_id: str, secret: str) -> httpx2.Response:
    return httpx2.post(
        f"{ready['authority']}/oauth/token",
        data={"grant_type": oauth.CLIENT_CREDENTIALS},
        auth=(client_id, secret),
        trust_env=False,
    )


def test_a_client_is_added_used_rotated_and_removed(
    rescind: Rescind, ready: Mapping[str, Any]
) -> None:
    options = ("--grant", "client_credentials", "--scope", "orders:read", "--audience", "orders")
    made = rescind("clients", "add", "billing", *options, "--introspect", "--ttl", "10m", "--json")
    assert made.returncode == 0, made.stderr
    added = json.loads(made.stdout)
    assert added["client_id"] == "billing"
    assert _token(ready, "billing", added["client_secret"]).status_code == 200
    # The secret of a client that may introspect is good at each sidecar too.
    seen = httpx2.post(
        f"{ready['sidecars'][0]['http']}/introspect",
        data={"token": "x"},
        auth=("billing", added["client_secret"]),
        trust_env=False,
    )
    assert (seen.status_code, seen.json()) == (200, {"active": False})

    listed = json.loads(rescind("clients", "ls", "--json").stdout)["clients"]
    assert [each["client_id"] for each in listed] == ["billing"]
    assert "billing" in rescind("clients", "ls").stdout
    shown = rescind("clients", "show", "billing").stdout
    assert "orders:read" in shown
    assert added["client_secret"] not in shown

    rotated = rescind("clients", "rotate", "billing")
    assert rotated.stderr.strip() == "billing"
    secret = rotated.stdout.strip()
    assert _token(ready, "billing", added["client_secret"]).status_code == 401
    assert _token(ready, "billing", secret).status_code == 200

    unsure = rescind("clients", "rm", "billing")
    assert unsure.returncode == 2
    assert "--yes" in unsure.stderr
    removed = rescind("clients", "rm", "billing", "--reason", "left", "--yes", "--json")
    assert removed.returncode == 0
    for revocation in json.loads(removed.stdout)["revocations"]:
        assert rescind("receipt", revocation).returncode == 0
    assert _token(ready, "billing", secret).status_code == 401
    assert rescind("clients", "show", "billing").returncode == 1


def test_a_client_with_keys_has_no_secret(rescind: Rescind, tmp_path: Path) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps(oauth.jwks(oauth.new_key())))
    options = ("--grant", "client_credentials", "--scope", "a", "--jwks", str(keys))
    added = rescind("clients", "add", "signer", *options)
    assert (added.returncode, added.stdout, added.stderr) == (0, "", "signer\n")
    assert rescind("clients", "rotate", "signer", "--jwks", str(keys)).returncode == 0
    keys.write_text("[]")
    wrong = rescind("clients", "rotate", "signer", "--jwks", str(keys))
    assert wrong.returncode == 2
    assert "JWK set" in wrong.stderr


def test_a_wrong_client_is_refused_in_the_words_of_the_options(rescind: Rescind) -> None:
    for arguments, words in (
        (("x", "--grant", "password", "--scope", "a"), "--grant"),
        (("x", "--grant", "client_credentials"), "scopes"),
        (("x y", "--grant", "client_credentials", "--scope", "a"), "client_id"),
        (("x", "--scope", "a"), "grant"),
        (("x", "--grant", "client_credentials", "--scope", "rescind:admin"), "rescind:admin"),
    ):
        refused = rescind("clients", "add", *arguments)
        assert refused.returncode in {1, 2}, refused
        assert words in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
