"""A whole authority inside the test's loop: real Postgres, real NATS, real HTTP."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx2
from nats.aio.client import Client
from tests.support.outcomes import LateError

from rescind.core import mac, tokens
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.wire import heartbeat, records, sealed, subjects
from rescind.wire.sealed import Sealed
from rescind_authority import preparing
from rescind_authority.settings import AuthoritySettings
from rescind_authority.wiring import Authority
from rescind_runtime import bus
from rescind_runtime.signing import Keyring
from rescind_runtime.supervise import Stop

_POLL_S = 0.01
_NATS_S = 5.0

CREDENTIAL_ID = "tok_00000000000000000000000000"
_CREDENTIAL = """
INSERT INTO tokens (
    token_id, token_hash, kind, subject, scopes, audience, labels, handles, issued_at, issued_seq,
    expires_at, created_by
)
VALUES (
    $1, sha256('a credential'), 'service', 'service:search', '{rescind:verify}', '{rescind}', '{}',
    ARRAY['token:' || $1], now(), 0, now() + interval '1 day', 'test'
)
ON CONFLICT DO NOTHING
"""
_ENROLMENT = """
INSERT INTO enrolments (instance, epoch, credential, service, enrolled_at)
VALUES ($1, 1, $2, $3, ledger_now())
ON CONFLICT (instance) DO UPDATE SET enrolled_at = excluded.enrolled_at
"""
_Seen = TypeVar("_Seen")


async def eventually(
    look: Callable[[], Awaitable[_Seen]], *, until: Callable[[_Seen], bool] = bool
) -> _Seen:
    """Return the first sight that satisfies; fail after 15 seconds with the last one."""
    seen: _Seen | None = None
    try:
        async with asyncio.timeout(15):
            while not until(seen := await look()):
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise LateError(f"still {seen!r}") from None
    return seen


@dataclass
class Sidecar:
    """The messages of one sidecar instance, over real NATS."""

    nats: Client
    keyring_path: Path
    system: "System"
    instance: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    epoch: int = 1
    counter: int = 0
    applied: Position | None = None
    service: str = "search"
    enrolled: set[bytes] = field(default_factory=set[bytes])

    async def enrol(self) -> None:
        """Have this instance be enrolled for its service, with a credential that is good.

        In the table alone: `test_enrolment.py` enrols as sidecars do.
        """
        if self.instance in self.enrolled:
            return
        self.enrolled.add(self.instance)
        await self.system.rows(_CREDENTIAL, CREDENTIAL_ID)
        await self.system.rows(_ENROLMENT, self.instance, CREDENTIAL_ID, self.service)

    async def beat(
        self,
        *,
        counter: int | None = None,
        service: str | None = None,
        nonce: bytes | None = None,
        posture: str = "strict",
    ) -> heartbeat.Reply | None:
        """Send a heartbeat, as a sidecar that names no earlier one; None is the empty reply."""
        message = self.message(service=service, nonce=nonce, posture=posture)
        if counter is not None:
            message = replace(message, counter=counter)
        reply = await self.converse(subjects.HEARTBEAT, heartbeat.encode(message))
        if not reply:
            return None
        decoded = heartbeat.decode_reply(reply)
        assert (decoded.nonce, decoded.instance) == (message.nonce, message.instance)
        return decoded

    def message(
        self, *, service: str | None = None, posture: str = "strict", nonce: bytes | None = None
    ) -> heartbeat.Heartbeat:
        """Make the next heartbeat."""
        self.counter += 1
        return heartbeat.Heartbeat(
            instance=self.instance,
            nonce=nonce or secrets.token_bytes(16),
            counter=self.counter,
            applied=self.applied,
            service=service or self.service,
            host="host-1",
            version="0.1.0",
            posture=posture,
        )

    async def release(self) -> bytes:
        """Give the instance up."""
        self.counter += 1
        release = heartbeat.Release(self.instance, self.counter)
        return await self.converse(subjects.HEARTBEAT, heartbeat.encode(release))

    async def since(self, seq: int, *, epoch: int = 1) -> heartbeat.Events:
        """Ask for missing events."""
        asked = heartbeat.encode_since(heartbeat.Since(epoch, seq))
        return heartbeat.decode_events(await self.converse(subjects.SINCE, asked))

    async def resolve(self, token: str) -> tuple[int, Record | None]:
        """Look a token up; give as_of with its record."""
        asked = records.encode_resolve(records.Resolve(tokens.digest(token)))
        resolved = records.decode_resolved(await self.ask(subjects.RESOLVE, asked))
        return resolved.as_of, resolved.record and records.decode(resolved.record)

    def spoken(self, content: bytes) -> bytes:
        """Put a message into the envelope with this instance's MAC."""
        tag = mac.tag(self._secret, mac.TO_AUTHORITY, content)
        return sealed.encode(Sealed(content, self.instance, tag))

    async def converse(self, subject: str, content: bytes) -> bytes:
        """Say something with our MAC, and check the MAC of the answer; b"" stays b""."""
        await self.enrol()
        answer = await self.ask(subject, self.spoken(content))
        if not answer:
            return answer
        envelope = sealed.decode(answer)
        assert mac.genuine(self._secret, mac.TO_SIDECAR, envelope.content, envelope.signature)
        return envelope.content

    @property
    def _secret(self) -> bytes:
        return mac.instance_secret(
            Keyring.read(self.keyring_path).master, epoch=self.epoch, instance=self.instance
        )

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Send any request."""
        return (await self.nats.request(subject, payload, timeout=_NATS_S)).data


@dataclass(frozen=True)
class System:
    """An empty database, a NATS, and the files of one authority."""

    settings: AuthoritySettings

    @property
    def dsn(self) -> str:
        """Where Postgres is."""
        return self.settings.postgres_dsn.get_secret_value()

    def but(self, **changed: object) -> "System":
        """Give the same system with other settings."""
        return replace(self, settings=self.settings.model_copy(update=changed))

    async def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run SQL beside the authority."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def shut(self) -> None:
        """Take the database away: no new connections, and an end to those there are."""
        await self._alter("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        await self._alter(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
        )

    async def open(self) -> None:
        """Bring the database back."""
        await self._alter("ALTER DATABASE {} ALLOW_CONNECTIONS true")

    async def _alter(self, sql: str) -> None:
        start, _, rest = self.dsn.rpartition("/test_")
        name, _, query = rest.partition("?")
        connection = await asyncpg.connect(f"{start}/postgres?{query}")
        try:
            await connection.execute(sql.format(f"test_{name}"))
        finally:
            await connection.close()

    @asynccontextmanager
    async def sidecar(self, service: str = "search") -> AsyncIterator[Sidecar]:
        """Be a sidecar."""
        async with bus.connection(self.settings.nats_url.get_secret_value(), name="test") as client:
            sidecar = Sidecar(client, self.settings.keyring_path, self, service=service)
            with suppress(asyncpg.UndefinedTableError):  # nothing is migrated yet
                await sidecar.enrol()
            yield sidecar


@dataclass(frozen=True)
class Running:
    """An authority that serves, and an admin who may do everything."""

    system: System
    http: httpx2.AsyncClient
    url: str

    async def issue(self, subject: str = "agent:a", **facts: object) -> dict[str, Any]:
        """Issue a token, and give the answer's document."""
        answer = await self.http.post(
            "/v1/tokens", json={"subject": subject, "kind": "agent", **facts}
        )
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        return answer.json()

    async def revoke(self, *selector: str, **rest: object) -> dict[str, Any]:
        """Revoke, and give the answer's document."""
        answer = await self.http.post("/v1/revocations", json={"selector": list(selector), **rest})
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        return answer.json()

    def as_bearer(self, token: str | None) -> httpx2.AsyncClient:
        """Call as somebody else."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=10)

    async def metric(self, name: str) -> float:
        """Read one number of /metrics."""
        text = (await self.http.get("/metrics")).text
        return next(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
        )


@asynccontextmanager
async def serving(
    system: System, *, prepare: bool = True, connected: bool = True
) -> AsyncIterator[Running]:
    """Run an authority for the block, prepared and connected to NATS unless told otherwise."""
    if prepare:
        await preparing.prepare(system.settings)
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        authority = Authority(system.settings, announce=_catching(announced))
        tasks.create_task(authority.run(stop))
        url = await announced
        token = system.settings.admin_token_path.read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=15) as client:
            running = Running(system, client, url)
            if connected:
                await eventually(lambda: _connected(client))
            try:
                yield running
            finally:
                stop.ask()


async def _connected(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/readyz")).json()["nats"] == "ok"


def _catching(announced: "asyncio.Future[str]") -> Callable[..., None]:
    def announce(**facts: object) -> None:
        announced.set_result(str(facts["http"]))

    return announce
