"""A whole authority inside the test's loop: real Postgres, real NATS, real HTTP."""

import asyncio
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from nats.aio.client import Client
from tests.support import rows
from tests.support.eventually import eventually

from rescind.core import instance_mac, token_format
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.wire import heartbeat, lookups, nats_subjects, records, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.operator import bootstrap
from rescind_authority.settings import AuthoritySettings
from rescind_authority.wiring.authority import Authority
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.net import nats_connection
from rescind_runtime.supervise import Stop

_WRITES_TOKENS = re.compile(r"\b(?:INTO|UPDATE)\s+(?:tokens|retired_secrets)\b")
_NATS_S = 20.0

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
        """Enrol this instance for its service, with a good credential.

        This writes to the table alone: `test_enrolment.py` enrols as sidecars do.
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
        reply = await self.converse(nats_subjects.HEARTBEAT, heartbeat.encode(message))
        if not reply:
            return None
        decoded = heartbeat.decode_reply(reply)
        assert (decoded.nonce, decoded.instance) == (message.nonce, message.instance)
        return decoded

    def message(
        self, *, service: str | None = None, posture: str = "strict", nonce: bytes | None = None
    ) -> heartbeat.Heartbeat:
        """Return the next heartbeat."""
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
        """Release the instance."""
        self.counter += 1
        release = heartbeat.Release(self.instance, self.counter)
        return await self.converse(nats_subjects.HEARTBEAT, heartbeat.encode(release))

    async def since(self, seq: int, *, epoch: int = 1) -> heartbeat.Events:
        """Request missing events."""
        asked = heartbeat.encode_since(heartbeat.Since(epoch, seq))
        return heartbeat.decode_events(await self.converse(nats_subjects.SINCE, asked))

    async def resolve(
        self, token: str, *, seq: int = 1 << 40, at_us: int | None = None
    ) -> tuple[int, Record | None]:
        """Look up a token as presented; return as_of with its record.

        `seq` and `at_us` are its position and time; by default as late as possible.
        """
        resolved = await self.look_up(self.asking(token, seq=seq, at_us=at_us))
        record = None if resolved.record is None else records.decode(resolved.record)
        return resolved.as_of, record

    def asking(
        self, token: str, *, seq: int = 1 << 40, at_us: int | None = None
    ) -> lookups.LookupRequest:
        """Return a look-up of a token that is presented."""
        nonce = secrets.token_bytes(16)
        proof = instance_mac.mask(self.secret, nonce, token_format.possession(token))
        shown = lookups.PossessionProof(seq, now_us() if at_us is None else at_us, proof)
        return lookups.LookupRequest(token_format.digest(token), nonce, shown)

    async def look_up(self, asked: lookups.LookupRequest) -> lookups.LookupAnswer:
        """Send a look-up, and return its answer; fail if the answer is to another look-up."""
        answer = await self.converse(nats_subjects.RESOLVE, lookups.encode_request(asked))
        resolved = lookups.decode_answer(answer)
        assert (resolved.nonce, resolved.token_hash) == (asked.nonce, asked.token_hash)
        return resolved

    def spoken(self, content: bytes) -> bytes:
        """Return a message in the envelope with this instance's MAC."""
        tag = instance_mac.tag(self.secret, instance_mac.TO_AUTHORITY, content)
        return signed_envelope.encode(SignedEnvelope(content, self.instance, tag))

    async def converse(self, subject: str, content: bytes) -> bytes:
        """Send a message with our MAC, and check the MAC of the answer; b"" stays b""."""
        await self.enrol()
        answer = await self.ask(subject, self.spoken(content))
        if not answer:
            return answer
        envelope = signed_envelope.decode(answer)
        assert instance_mac.genuine(
            self.secret, instance_mac.TO_SIDECAR, envelope.content, envelope.signature
        )
        return envelope.content

    @property
    def secret(self) -> bytes:
        return instance_mac.instance_secret(
            Keyring.read(self.keyring_path).master, epoch=self.epoch, instance=self.instance
        )

    async def ask(self, subject: str, payload: bytes) -> bytes:
        """Send a request, and return the answer."""
        return (await self.nats.request(subject, payload, timeout=_NATS_S)).data


def now_us() -> int:
    """Return the time of the wall clock, which is also Postgres's here."""
    return time.time_ns() // 1000


@dataclass(frozen=True)
class System:
    """An empty database, a NATS, and the files of one authority."""

    settings: AuthoritySettings

    @property
    def dsn(self) -> str:
        """The URL of Postgres."""
        return self.settings.postgres_dsn.get_secret_value()

    def but(self, **changed: object) -> "System":
        """Return the same system with other settings."""
        return replace(self, settings=self.settings.model_copy(update=changed))

    async def rows(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run SQL beside the authority. The tokens that it writes get an authority's MAC."""
        if not (_WRITES_TOKENS.search(sql) and self.settings.keyring_path.exists()):
            return await self.tamper(sql, *arguments)
        async with rows.adopting(self.settings.postgres, self.settings.keyring_path):
            return await self.tamper(sql, *arguments)

    async def tamper(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Run SQL as a writer without the key for rows."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def shut(self) -> None:
        """Close the database: refuse new connections, and end the existing ones."""
        await self._alter("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        await self._alter(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
        )

    async def open(self) -> None:
        """Open the database again."""
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
        """Yield a sidecar of this system."""
        async with nats_connection.connection(
            self.settings.nats_url.get_secret_value(), name="test"
        ) as client:
            sidecar = Sidecar(client, self.settings.keyring_path, self, service=service)
            if self.settings.keyring_path.exists():  # else it enrols once the authority is prepared
                await sidecar.enrol()
            yield sidecar


@dataclass(frozen=True)
class Running:
    """An authority that serves, and an administrator with every scope."""

    system: System
    http: httpx2.AsyncClient
    url: str

    async def issue(self, subject: str = "agent:a", **facts: object) -> dict[str, Any]:
        """Issue a token, and return the answer's document."""
        answer = await self.http.post(
            "/v1/tokens", json={"subject": subject, "kind": "agent", **facts}
        )
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def revoke(self, *selector: str, **rest: object) -> dict[str, Any]:
        """Revoke, and return the answer's document."""
        answer = await self.http.post("/v1/revocations", json={"selector": list(selector), **rest})
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def as_bearer(self, token: str | None) -> httpx2.AsyncClient:
        """Return a client with another token."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=10)

    async def metric(self, name: str) -> float:
        """Return one number of /metrics."""
        text = (await self.http.get("/metrics")).text
        return next(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
        )


@asynccontextmanager
async def serving(
    system: System,
    *,
    prepare: bool = True,
    connected: bool = True,
    verify: ssl.SSLContext | bool = True,
) -> AsyncIterator[Running]:
    """Run an authority for the block, by default prepared and connected to NATS.

    `verify` is the TLS context of a client of its HTTPS.
    """
    if prepare:
        await bootstrap.prepare(system.settings)
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        authority = Authority(system.settings, announce=_catching(announced))
        tasks.create_task(authority.run(stop))
        url = await announced
        token = system.settings.admin_token_path.read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(
            base_url=url, headers=headers, timeout=15, verify=verify
        ) as client:
            running = Running(system, client, url)
            if connected:
                await eventually(lambda: _connected(client))
            if prepare and connected:
                await eventually(lambda: _recognises(client))
            try:
                yield running
            finally:
                stop.request()


async def _recognises(client: httpx2.AsyncClient) -> bool:
    """Return True once the authority has read the ledger, and so can check an instance's MAC."""
    unknown = signed_envelope.encode(SignedEnvelope(b"", bytes(heartbeat.INSTANCE_BYTES)))
    answer = await client.post(nats_subjects.path(nats_subjects.SINCE), content=unknown)
    return answer.content == heartbeat.ENROL_AGAIN


async def _connected(client: httpx2.AsyncClient) -> bool:
    state: str = (await client.get("/readyz")).json()["nats"]
    return state == "ok"


def _catching(announced: "asyncio.Future[str]") -> Callable[..., None]:
    def announce(**facts: object) -> None:
        announced.set_result(str(facts["http"]))

    return announce
