"""`rescind sidecar enrol`: no credential without its file, and no file replaced unseen."""

import json
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Rescind


def credentials(rescind: Rescind, service: str) -> list[str]:
    listed = rescind(
        "tokens", "ls", "--subject", f"service:{service}", "--state", "active", "--json"
    )
    return [each["token_id"] for each in json.loads(listed.stdout)["tokens"]]


@pytest.mark.parametrize("where", ["nodir/x", "afile/x", "adir"])
def test_no_credential_is_issued_if_its_file_cannot_be_written(
    rescind: Rescind, tmp_path: Path, where: str
) -> None:
    (tmp_path / "afile").touch()
    (tmp_path / "adir").mkdir()
    ended = rescind("sidecar", "enrol", "--service", "orphan", "--file", str(tmp_path / where))
    assert ended.returncode in (1, 2), ended.stderr
    assert "defect" not in ended.stderr
    assert str(tmp_path / where) in ended.stderr
    assert credentials(rescind, "orphan") == []


@pytest.mark.parametrize("name", ["sea rch/../x", "", ".x", "a" * 64, "search\n", "sucheé"])
def test_a_name_that_no_sidecar_can_have_is_refused(
    rescind: Rescind, tmp_path: Path, name: str
) -> None:
    ended = rescind("sidecar", "enrol", "--service", name, "--file", str(tmp_path / "f"))
    assert ended.returncode == 2
    assert "is not the name of a service" in ended.stderr
    assert not (tmp_path / "f").exists()


def test_an_existing_file_is_replaced_only_on_request_and_its_old_credential_is_named(
    rescind: Rescind, tmp_path: Path
) -> None:
    command = ("sidecar", "enrol", "--service", "twice", "--file", str(tmp_path / "f"))
    first = json.loads(rescind(*command, "--json").stdout)["token_id"]
    kept = (tmp_path / "f").read_bytes()
    refused = rescind(*command)
    assert (refused.returncode, "--replace" in refused.stderr) == (1, True)
    assert (tmp_path / "f").read_bytes() == kept
    assert credentials(rescind, "twice") == [first]
    done = rescind(*command, "--replace")
    assert done.returncode == 0, done.stderr
    assert f"rescind revoke token:{first}" in done.stdout
    assert (tmp_path / "f").read_bytes() != kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]
