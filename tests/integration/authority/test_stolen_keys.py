"""A copy of the keyring and of the trust file is in other hands, and so is the way to NATS."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.integration.authority.test_nats_tampering import CREDENTIAL, run_attacked_system
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually

from rescind import Allowed, Denied, Reason, Verifier
from rescind.wire.enrolment import Credential
from rescind_authority import __main__
from rescind_authority.keys import reloading_keyring
from rescind_authority.operator import key_commands, trust_propagation
from rescind_authority.ports.enrolments import Enrolment
from rescind_authority.usecases.leases.enrol import Enroller
from rescind_cli import service_process
from rescind_cli.__main__ import rescind
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto import signing
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.supervise import Stop
from rescind_sidecar.wiring.sidecar import Sidecar


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have authorities look at their keyring at once, and nothing wait for a minute."""
    monkeypatch.setattr(signing, "OVERLAP_US", 0)
    monkeypatch.setattr(reloading_keyring, "_POLL_S", 0.1)
    monkeypatch.setattr(trust_propagation, "_RELOAD_US", 500_000)


class LaterClock(SystemClock):
    """The wall clock of a machine, when the trust statement has ended."""

    def wall_us(self) -> int:
        return super().wall_us() + 31 * 86_400 * 1_000_000


@asynccontextmanager
async def run_with_stolen_keyring(
    system: System, stolen: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Running, list[str]]]:
    """Run an authority with a stolen keyring that enrols every sidecar, and records credentials."""
    read: list[str] = []
    shutil.copy(stolen, system.settings.keyring_path)
    async with serving(system) as theirs:
        made = await theirs.issue("service:search", **CREDENTIAL)

        async def enrol(
            self: Enroller, credential: Credential, instance: bytes, _found: object
        ) -> str | None:
            read.append(credential.token.reveal())
            wish = Enrolment(instance, made["token_id"], "search", None)
            await self._enrolments.enrol(wish, most=100, most_begun=100)
            return None

        with monkeypatch.context() as patched:
            patched.setattr(Enroller, "_enrol", enrol)
            yield theirs, read


@asynccontextmanager
async def started(sidecar: Sidecar) -> AsyncIterator[Verifier]:
    """Run a sidecar for the block, which starts once its enrolment was answered."""
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sidecar.run(stop))

        async def answered() -> bool:
            tally = sidecar._tally
            return tally.heartbeats + tally.enrolments_refused > 0 or _distrusts(sidecar)

        await eventually(answered)
        verifier = await asyncio.to_thread(
            Verifier.attach, sidecar._settings.socket_path, timeout_s=5
        )
        try:
            yield verifier
        finally:
            await asyncio.to_thread(verifier.close)
            stop.request()
            await running


def _distrusts(sidecar: Sidecar) -> bool:
    return hasattr(sidecar, "_trust_store") and sidecar._trust_store.problem() is not None


async def test_a_stolen_keyring_with_access_to_nats_deceives_no_sidecar_that_knows_of_its_end(
    system: System,
    shared_system: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hasty: None,
) -> None:
    system, stolen, old_trust = system.but(term=1), tmp_path / "stolen", tmp_path / "old-trust"
    async with run_attacked_system(system, tmp_path) as attacked:
        shutil.copy(system.settings.keyring_path, stolen)
        shutil.copy(system.settings.trust_path, old_trust)
        good = (await attacked.authority.issue("agent:a"))["token"]
        assert isinstance(await attacked.check(good), Allowed)
        assert key_commands.retire(system.settings, "all")["serial"] == 2
        heard = await trust_propagation.wait(system.settings, timeout_s=15, retired="all")
        assert (heard["state"], heard["serial"]) == ("heard", 2)
        # What it knew may have come from the thief: it began anew, and good tokens are good again.
        await attacked._wait_until(lambda: attacked.tally.instances_ended == 1)

        async def accepted() -> bool:
            return isinstance(await attacked.check(good), Allowed)

        await eventually(accepted)
        settings = attacked.sidecar._settings.model_copy(update={"trust_file": old_trust})
        credential = settings.credential.get_secret_value()
    # Here the authority is gone: whatever the sidecar reaches is the thief.
    async with run_with_stolen_keyring(shared_system, stolen, monkeypatch) as (theirs, read):
        forged = (await theirs.issue("agent:forged", scopes=["*"]))["token"]
        sidecar = Sidecar(settings)  # with the trust file that it always had
        async with started(sidecar) as verifier:
            assert await verifier.acheck(forged) == Denied(Reason.NO_LEASE)
        assert (sidecar._tally.heartbeats, read) == (0, [])
        # A fresh machine has nothing but its trust file. If that is old, it believes the thief …
        fresh = settings.model_copy(update={"socket": tmp_path / "fresh.sock"})
        async with started(Sidecar(fresh)) as verifier:

            async def fooled() -> bool:
                return isinstance(await verifier.acheck(forged), Allowed)

            await eventually(fooled)
        assert credential in read
        read.clear()
        # … until the statement in it ends, and then never again.
        later = Sidecar(settings.model_copy(update={"socket": tmp_path / "later.sock"}))
        later._clock = LaterClock()
        async with started(later) as verifier:
            assert await verifier.acheck(forged) == Denied(Reason.NO_LEASE)
        assert (later._tally.heartbeats, read) == (0, [])


RUNBOOK = Path(__file__).parents[3] / "deploy" / "runbooks" / "keys.md"


def commands() -> list[str]:
    """Return the commands that stand in the runbook's blocks, in their order."""
    blocks = re.findall(r"```\n(.*?)```", RUNBOOK.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


async def test_every_command_of_the_runbook_runs_and_every_sidecar_receives_the_change(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    system = system.but(term=1)

    def ask(_module: str, verb: str, *arguments: str, data: Path | None) -> dict[str, object]:
        """Do in this process what the command line has an authority's process do."""
        if verb == "keys-heard":
            told = dict(each.removeprefix("--").split("=") for each in arguments)
            timeout_s, retired = float(told["timeout-s"]), told.get("retired")
            return asyncio.run(
                trust_propagation.wait(system.settings, timeout_s=timeout_s, retired=retired)
            )
        if verb == "show-keys":
            return key_commands.show(system.settings)
        if verb == "renew-keys":
            return key_commands.renew(system.settings)
        change, kind = __main__._CHANGES[verb]
        return change(system.settings, kind)

    monkeypatch.setattr(service_process, "run_verb", ask)
    async with run_attacked_system(system, tmp_path) as attacked:
        before = Keyring.read(system.settings.keyring_path)
        for line in commands():
            assert line.startswith("rescind keys ")
            ended = await asyncio.to_thread(CliRunner().invoke, rescind, line.split()[1:])
            assert ended.exit_code == 0, (line, ended.output, ended.exception)
            if "retire" in line or "heard" in line:
                assert "heard" in ended.stdout, line
        now = Keyring.read(system.settings.keyring_path)
        assert (now.root != before.root, now.links) == (True, ())
        gone = {(each.kind, each.key_id) for each in now.trust.retired}
        told = {(kind, name) for kind, name, _ in before.known() if kind != signing.ROWS}
        assert told <= gone
        good = (await attacked.authority.issue("agent:a"))["token"]

        async def accepted() -> bool:
            return isinstance(await attacked.check(good), Allowed)

        await eventually(accepted)
