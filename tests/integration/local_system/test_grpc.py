"""`rescind up` with RESCIND_GRPC in the environment."""

from pathlib import Path
from typing import Any

import grpc
from tests.support import local_system
from tests.unit.rescind_sidecar.grpc.conftest import authorization, check_request, check_response

from rescind.client.admin import Admin
from rescind.client.settings import read_token


def test_the_first_sidecar_serves_grpc_until_its_end(tmp_path: Path) -> None:
    settings = {"RESCIND_GRPC": "127.0.0.1:0"}
    with local_system.up(tmp_path / "data", sidecars=2, settings=settings) as run:
        ready: Any = run.ready
        first, second = ready["sidecars"]
        assert second["grpc"] is None
        with Admin(ready["authority"], read_token(Path(ready["admin_token_file"]))) as admin:
            issued = admin.issue(subject="agent:x", kind="agent", scopes=["a"], ttl=3600)
            assert issued.token is not None
            message = check_request(authorization(issued.token.reveal()))
            with grpc.insecure_channel(first["grpc"]) as channel:
                method = "/envoy.service.auth.v3.Authorization/Check"
                check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
                assert check_response(check(message)).headers["x-rescind-subject"] == "agent:x"
                admin.revoke("subject:agent:x", wait=True)
                assert check_response(check(message)).headers["x-rescind-reason"] == "revoked"
