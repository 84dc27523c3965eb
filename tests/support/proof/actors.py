"""The commanders: they issue, delegate, revoke, suspend, lift and wait, whatever happens meanwhile.

Each command is repeated under one key until some authority answers.
"""

import asyncio
import random
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx2
from tests.support.cluster import Cluster
from tests.support.proof.clients import now_ns
from tests.support.proof.oracle import CheckedToken, Command, Oracle

from rescind.core import token_format
from rescind.core.token_format import Kind

MAX_GOOD = 120
_KEPT_NS = 1_500_000_000
_FORGERIES_GO = 0.02
_DEAD_GO = 0.03
_RETRY_S = 0.05
_NEXT_S = 0.01
_WAIT_S = 1.0
_READ_S = 0.01
_FOREVER_S = 120.0


class Actors:
    """The commanders of an installation. `pools` holds the tokens to check: good and dead ones.

    A detector waits up to `pause_s` before each revocation.
    """

    def __init__(self, cluster: Cluster, oracle: Oracle, *, pause_s: float, seed: int) -> None:
        self._cluster = cluster
        self._oracle = oracle
        self.pause_s = pause_s
        self._random = random.Random(seed)
        self._http = httpx2.AsyncClient(timeout=3.0, trust_env=False, headers=cluster.admin)
        self.tokens: list[CheckedToken] = []
        self.pools: tuple[list[CheckedToken], list[CheckedToken]] = ([], [])
        self.revocations: dict[str, int] = {}
        self.waited: list[Command] = []
        self.repeated = frozenset({httpx2.codes.SERVICE_UNAVAILABLE})
        self.revoking = asyncio.Event()
        """While this is cleared, no detector begins to revoke; commands under way go on."""
        self.revoking.set()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def lose(self, *, kept: Collection[CheckedToken], seq: int) -> None:
        """Record a restore to this seq: a token that is not in the backup was never issued.

        A suspension after the backup may still apply: sidecars bring it back, but not its lift.
        They bring back no rotation either, so the secret that a token then has is not checked.
        """
        for known in self.tokens:
            known.issued = known.issued and known in kept
            for each in known.suspensions:
                if each.seq is None or each.seq > seq:
                    each.lift_enforced_ns = None
        self._sort([known for known in self.tokens if known.grant is None])
        self.revocations = {each: at for each, at in self.revocations.items() if at <= seq}
        self._oracle.acknowledged.clear()  # these seqs come again, for other events

    @property
    def good(self) -> list[CheckedToken]:
        """The tokens for which no command has requested an end or a suspension."""
        return [each for each in self.tokens if each.issued and not each.doomed]

    async def issue(
        self, *, parent: CheckedToken | None = None, rotates: bool = False
    ) -> CheckedToken | None:
        """Issue a token, or delegate one; some tokens are for one service alone."""
        audience = None
        if parent is None:
            audience = self._random.choice([None, None, None, *self._cluster.services])
            body: dict[str, Any] = {"subject": f"agent:{secrets.token_hex(4)}", "kind": "agent"}
            body |= {"audience": [audience] if audience else [], "ttl": 3600}
            found = await self._command("/v1/tokens", body)
        else:
            body = {"subject": f"{(await self._subject(parent))}/{secrets.token_hex(3)}"}
            found = await self._command("/v1/delegations", body, bearer=parent.token)
            audience = parent.audience
        if not found.get("token"):  # a repeat after a lost answer omits it; or the parent is dead
            return None
        known = CheckedToken(found["token"], found["token_id"], audience, parent)
        if rotates:
            known.grant = CheckedToken("", known.token_id)
        self._keep(known)
        self._oracle.commands["issue" if parent is None else "delegate"] += 1
        return known

    def forge(self) -> None:
        """Add a token that was never issued."""
        secret = token_format.mint(
            kind=Kind.AGENT, random=secrets.token_bytes(32), edge_key=secrets.token_bytes(32)
        )
        self._keep(CheckedToken(secret.reveal(), "forged", issued=False))

    async def families(self) -> None:
        """Issue and delegate until cancelled, so that there are always some good tokens."""
        while True:
            if len(self.good) < MAX_GOOD:
                root = await self.issue()
                for _ in range(self._random.randrange(3)):
                    parent = root and self._random.choice([root, *self._children(root)])
                    if parent is not None and not parent.doomed:
                        await self.issue(parent=parent)
                if self._random.random() < 0.1:
                    self.forge()
            await asyncio.sleep(_NEXT_S)

    async def detect(self) -> None:
        """Revoke one token, a tree, or a batch, until cancelled; some wait for the receipt."""
        while True:
            await asyncio.sleep(self._random.uniform(0, self.pause_s))
            await self.revoking.wait()
            choice = self._random.random()
            good = self.good
            if len(good) < MAX_GOOD // 2:
                await asyncio.sleep(0.02)
            elif choice < 0.3:
                await self.revoke(self._random.choice(good), wait=True)
            elif choice < 0.4:
                await self._batch(self._random.sample(good, 10))
            else:
                await self.revoke(self._random.choice(good), wait=False)

    async def hold(self) -> None:
        """Suspend a token, wait until it is enforced, and lift it, until cancelled."""
        while True:
            good = [each for each in self.good if not each.suspended]
            if not good:
                await asyncio.sleep(_RETRY_S)
                continue
            known = self._random.choice(good)
            command = Command(now_ns())
            known.whole.suspensions.append(command)
            body = {"selector": [f"token:{known.token_id}"], "effect": "suspend"}
            done = await self._command("/v1/revocations", body)
            self._answered(command, done)
            await self._enforced(command, done["id"])
            await asyncio.sleep(self._random.uniform(0, 0.3))
            command.lift_asked_ns = now_ns()
            path = f"/v1/revocations/{done['id']}/lift"
            lifted = await self._command(path, {"reason": "over"})
            await self._receipt(lifted["id"])
            command.lift_enforced_ns = now_ns()
            self._oracle.commands["suspend and lift"] += 1
            await asyncio.sleep(0.05)

    async def written(self) -> None:
        """Wait until each authority has committed a command that was sent from now on."""
        body = {"subject": "agent:nobody", "kind": "agent", "ttl": 3600}
        for url in self._cluster.authorities:
            await self._command("/v1/tokens", body, at=[url])

    async def read(self) -> None:
        """Look tokens up at either authority until cancelled, ignoring the answers."""
        while True:
            await asyncio.sleep(_READ_S)
            for known in self._random.sample(self.good, min(1, len(self.good))):
                url = self._random.choice(self._cluster.authorities)
                with suppress(httpx2.HTTPError):
                    await self._http.get(f"{url}/v1/tokens/{known.token_id}")

    async def rotate(self) -> None:
        """Rotate a token's secret until the token is ended, then another's, until cancelled."""
        while True:
            known = await self.issue(rotates=True)
            while known is not None:
                await asyncio.sleep(self._random.uniform(0, 0.3))
                known = await self._rotated(known)

    async def _rotated(self, known: CheckedToken) -> CheckedToken | None:
        """Return the token with its new secret once the old one is dead; None if it is lost."""
        command = known.revocation = Command(now_ns(), waits=True)
        # The clients try old secrets for a long time, and are not thieves.
        body = {"on_reuse": "deny", "wait": True, "timeout": _WAIT_S}
        done = await self._command(f"/v1/tokens/{known.token_id}/rotate", body, ends=True)
        if not done:  # it is suspended, or ended: nothing was changed
            known.revocation = None
            return None if known.doomed else known
        self._answered(command, done)
        new = None
        if done["token"] is not None:  # a repeat after a lost answer omits it
            new = CheckedToken(done["token"], known.token_id, known.audience, grant=known.grant)
            self._keep(new)
        await self._enforced(command, done["id"])
        self._oracle.commands["rotate"] += 1
        return new

    async def revoke(self, known: CheckedToken, *, wait: bool) -> None:
        """Revoke a token with its tree."""
        command = known.whole.revocation = Command(now_ns(), waits=wait)
        body: dict[str, Any] = {"selector": [f"token:{known.token_id}"], "reason": "the proof"}
        if wait:
            body |= {"wait": True, "timeout": _WAIT_S}
        done = await self._command("/v1/revocations", body)
        self._answered(command, done)
        if wait:
            if done["state"] != "enforced":
                await self._receipt(done["id"])
            command.enforced_ns = now_ns()
            self.waited.append(command)
            self._oracle.commands["revoke and wait"] += 1
        self._oracle.commands["revoke"] += 1

    async def _batch(self, doomed: list[CheckedToken]) -> None:
        commands = [Command(now_ns()) for _ in doomed]
        for known, command in zip(doomed, commands, strict=True):
            known.whole.revocation = command
        deeds = [{"selector": [f"token:{known.token_id}"]} for known in doomed]
        key, refused = secrets.token_hex(8), True
        while refused:
            # Under the same key: commands that were committed before get the same answer.
            body = {"revocations": deeds}
            done = await self._command("/v1/revocations/batch", body, key=key)
            refused = done["refused"] > 0
        for command, outcome in zip(commands, done["outcomes"], strict=True):
            self._answered(command, outcome)
        self._oracle.commands["revoke"] += len(doomed)

    def _answered(self, command: Command, done: Mapping[str, Any]) -> None:
        # The time after the answer: from then on it is certainly committed.
        command.answered_ns = now_ns()
        command.seq = done["seq"]
        self.revocations[done["id"]] = done["seq"]

    async def _enforced(self, command: Command, revocation_id: str) -> None:
        await self._receipt(revocation_id)
        command.enforced_ns = now_ns()

    async def _receipt(self, revocation_id: str) -> None:
        """Wait for a receipt, at any authority that answers."""
        async with asyncio.timeout(_FOREVER_S):
            while True:
                url = self._random.choice(self._cluster.authorities)
                path = f"{url}/v1/revocations/{revocation_id}/receipt"
                try:
                    answer = await self._http.get(path, params={"timeout": _WAIT_S})
                except httpx2.HTTPError:
                    await asyncio.sleep(_RETRY_S)
                    continue
                if answer.status_code == httpx2.codes.OK:
                    return
                assert answer.status_code in self.repeated | {202}, answer.text
                if answer.status_code != httpx2.codes.ACCEPTED:
                    await asyncio.sleep(_RETRY_S)

    async def _subject(self, known: CheckedToken) -> str:
        path = f"/v1/tokens/{known.token_id}"
        while True:
            url = self._random.choice(self._cluster.authorities)
            try:
                answer = await self._http.get(f"{url}{path}")
            except httpx2.HTTPError:
                answer = None
            if answer is not None and answer.status_code == httpx2.codes.OK:
                return str(answer.json()["subject"])
            await asyncio.sleep(_RETRY_S)

    async def _command(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        bearer: str | None = None,
        key: str | None = None,
        ends: bool = False,
        at: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Send a command until it is answered; return {} if its token, or the bearer's, has ended.

        {} is returned only for a command with `ends` or with a `bearer`.
        """
        headers = {"Idempotency-Key": key or secrets.token_hex(8)}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        async with asyncio.timeout(_FOREVER_S):
            while True:
                url = self._random.choice(at or self._cluster.authorities)
                try:
                    answer = await self._http.post(f"{url}{path}", json=body, headers=headers)
                except httpx2.HTTPError:
                    await asyncio.sleep(_RETRY_S)
                    continue
                if answer.status_code in {200, 201, 202}:
                    found: dict[str, Any] = answer.json()
                    return found
                if (bearer or ends) and answer.status_code in {401, 403, 409}:
                    return {}  # meanwhile it, or its parent, was ended or suspended
                assert answer.status_code in self.repeated, answer.text
                await asyncio.sleep(_RETRY_S)

    def _children(self, root: CheckedToken) -> list[CheckedToken]:
        return [each for each in self.tokens if each.parent is root]

    def _keep(self, known: CheckedToken) -> None:
        kept = [each for each in (*self.tokens, known) if not self._forgettable(each)]
        self._sort(kept)

    def _sort(self, kept: list[CheckedToken]) -> None:
        # New lists: the clients iterate over the old ones meanwhile.
        self.tokens = kept
        self.pools = (
            [each for each in kept if each.issued and not each.doomed],
            [each for each in kept if each.doomed or not each.issued],
        )

    def _forgettable(self, known: CheckedToken) -> bool:
        """Return True if a token has been dead for so long that its checks show nothing new."""
        if not known.issued:
            return self._random.random() < _FORGERIES_GO
        ended = [each.revocation for each in known.lineage() if each.revocation is not None]
        if any(each.waits and each.enforced_ns is None for each in ended):
            return False
        if any(each.answered_ns and not each.waits for each in ended):
            return self._random.random() < _DEAD_GO
        return any(
            each.answered_ns is not None
            and now_ns() > (each.enforced_ns or each.answered_ns + self._oracle.wait_ns) + _KEPT_NS
            for each in ended
        )
