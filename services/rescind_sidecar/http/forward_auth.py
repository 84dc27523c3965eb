"""`/verify`: answer a proxy about the call that it holds (nginx, Envoy, Caddy, Traefik).

The path after `/verify` and the query may come from the caller, where a proxy appends what it was
asked (Envoy does). So a query only ever narrows: `require` adds scopes, and `audience` names
another service only at `/verify` itself; below it, the token must be meant for this one too.
`min_seq` demands an answer that covers this position of the ledger. The caller's address, which
some tokens are tied to, comes in the header that RESCIND_ADDRESS_HEADER names, such as x-real-ip:
the proxy must set it, whatever the caller sent.
"""

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote

from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.integrations import bearer
from rescind_sidecar.http.messages import NO_STORE, Reply, Request, lines, problem

PATH = "/verify"
_MOST_PARAMETERS = 100
_MOST_REMEMBERED = 1024
_MOST_TOLD = 10_000
_LONGEST_REMEMBERED_BYTES = 256
_LARGEST_SEQ = (1 << 64) - 1

_VISIBLE = re.compile(r"[!-$&-~]*")
_VISIBLE_BUT_PERCENT = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"


class _QueryError(ValueError):
    """Say what is wrong with a query."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a proxy wants to know of a token."""

    require: frozenset[str] = frozenset()
    audience: str | None = None
    min_seq: int = 0


_ANYTHING = Question()


class ForwardAuth:
    """Judge the bearer token of a call: any method, any path after `/verify`."""

    def __init__(
        self, verifier: Verifier, *, stale_status: int, address_header: str | None = None
    ) -> None:
        self._verifier = verifier
        self._address_header = address_header and address_header.encode()
        self._stale_status = stale_status
        self._unauthenticated = _refused(bearer.unauthenticated())
        self._told: dict[tuple[bytes, int, int], bytes] = {}

    def __call__(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        """Answer at once from memory, or else when the sidecar has been asked."""
        try:
            question = _question(request.query) if request.query else _ANYTHING
        except ValueError as error:
            return problem(400, "invalid-query", "The query cannot be used", str(error))
        token = bearer.find(request.headers)
        if token is None:
            return self._unauthenticated
        free = request.path != PATH
        audience = None if free else question.audience
        as_of = self._verifier.as_of
        address = self._address(request) if self._address_header else None
        verdict = self._verifier.recall(
            token,
            require=question.require,
            audience=audience,
            address=address,
            min_seq=question.min_seq,
        )
        if verdict is None:
            return self._ask(token, question, address, free=free)
        return self._reply(verdict, question, as_of=as_of, free=free)

    def _address(self, request: Request) -> str | None:
        """Give the caller's address as the proxy has it: of a list, what the nearest one added."""
        found = [value for name, value in request.headers if name.lower() == self._address_header]
        return found[-1].decode("latin-1").rpartition(",")[2].strip() if found else None

    def _tell(self, key: tuple[bytes, int, int], record: Record) -> bytes:
        """Write the headers of a record, once for each: it is what it was at its position.

        Remembering them remembers no verdict. Of too many, the first written go.
        """
        if len(self._told) >= _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[key] = told = _described(record)
        return told

    async def _ask(
        self, token: str, question: Question, address: str | None, *, free: bool
    ) -> Reply:
        audience = None if free else question.audience
        as_of = self._verifier.as_of
        verdict = await self._verifier.acheck(
            token,
            require=question.require,
            audience=audience,
            address=address,
            min_seq=question.min_seq,
        )
        return self._reply(verdict, question, as_of=as_of, free=free)

    def _reply(self, verdict: Verdict, question: Question, *, as_of: int, free: bool) -> Reply:
        if free and question.audience and isinstance(verdict, Allowed):
            meant_for = verdict.record.audience
            if meant_for and question.audience not in meant_for:
                verdict = Denied(Reason.WRONG_AUDIENCE)
        match verdict:
            case Allowed(record):
                key = (record.token_hash, record.epoch, record.as_of)
                told = self._told.get(key) or self._tell(key, record)
                seq = max(as_of, record.as_of, question.min_seq)
                return Reply(200, b"%bx-rescind-as-of: %d\r\n" % (told, seq))
            case Denied(reason):
                refusal = bearer.refuse(
                    reason, require=question.require, stale_status=self._stale_status
                )
                return _refused(refusal)


def _refused(refusal: bearer.Refusal) -> Reply:
    headers = [each for each in refusal.headers if each[0] != "content-length"]
    return Reply(refusal.status, lines(headers), refusal.body)


def _described(record: Record) -> bytes:
    return NO_STORE + lines(
        (
            ("x-rescind-subject", _visible(record.subject)),
            ("x-rescind-kind", record.kind),
            ("x-rescind-token-id", _visible(record.token_id)),
            ("x-rescind-scopes", " ".join(map(_visible, sorted(record.scopes)))),
            ("x-rescind-chain", " ".join(map(_visible, record.chain))),
        )
    )


def _visible(text: str) -> str:
    """Percent-encode all but visible ASCII, and `%`: no text ends a header or splits a list."""
    return text if _VISIBLE.fullmatch(text) else quote(text, safe=_VISIBLE_BUT_PERCENT)


def _question(query: bytes) -> Question:
    # A proxy asks the same question again and again; what callers make up is not kept for long.
    if len(query) <= _LONGEST_REMEMBERED_BYTES:
        return _remembered(query)
    return _parsed(query)


def _parsed(query: bytes) -> Question:
    """Read a query. Raises ValueError, which says what is wrong."""
    text = query.decode("utf-8", "replace")
    pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    audiences = {value for name, value in pairs if name == "audience" and value}
    if len(audiences) > 1:
        raise _QueryError("`audience` names one service.")
    require = (scope for name, value in pairs if name == "require" for scope in value.split())
    return Question(
        frozenset(require),
        audiences.pop() if audiences else None,
        # The largest of several: what a caller appends only ever demands more.
        max((_seq(value) for name, value in pairs if name == "min_seq"), default=0),
    )


def _seq(value: str) -> int:
    # Its length first: Python reads no number of more than 4,300 digits.
    short = len(value) <= len(str(_LARGEST_SEQ))
    if short and value.isascii() and value.isdecimal() and int(value) <= _LARGEST_SEQ:
        return int(value)
    raise _QueryError("`min_seq` is a position of the ledger: a number, 1042 say.")


_remembered = lru_cache(_MOST_REMEMBERED)(_parsed)
