"""The locks: every package that is installed, by its release and the hashes of its files."""

import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support.releases import LOCKS, ROOT, locked


def required(extra: str) -> list[Requirement]:
    """List what an extra asks for, with what the extras that it names ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [Requirement(each) for each in project["dependencies"]]
    pending = [extra]
    while pending:
        for each in map(Requirement, project["optional-dependencies"][pending.pop()]):
            if each.name == project["name"]:
                pending.extend(each.extras)
            else:
                found.append(each)
    return found


@pytest.mark.parametrize("extra", LOCKS)
def test_a_lock_holds_what_its_extra_asks_for(extra: str) -> None:
    pins = locked(LOCKS[extra])
    for each in required(extra):
        if each.marker is None or each.marker.evaluate():
            release, _ = pins[canonicalize_name(each.name)]
            assert release in each.specifier, f"{each}: run .ci/lock"


@pytest.mark.parametrize("extra", LOCKS)
def test_every_file_of_a_lock_has_a_hash_and_none_an_address(extra: str) -> None:
    for name, (_, hashes) in locked(LOCKS[extra]).items():
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)
    assert "//" not in LOCKS[extra].read_text()


def test_the_tests_run_on_the_releases_that_are_deployed() -> None:
    deployed, tested = locked(LOCKS["all"]), locked(LOCKS["dev"])
    assert deployed.items() <= tested.items()


def test_every_package_of_an_npm_lock_has_a_hash_and_none_an_address() -> None:
    locks = list((ROOT / "deploy" / "examples").glob("*/package-lock.json"))
    assert locks
    for lock in locks:
        packages = json.loads(lock.read_text())["packages"]
        for name, package in packages.items():
            assert not name or package["integrity"].startswith("sha512-"), name
            assert "resolved" not in package, "npm config set omit-lockfile-registry-resolved true"
