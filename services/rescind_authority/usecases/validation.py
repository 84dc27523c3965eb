"""Validate the fields of a new token. All errors are reported, each at its field."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from rescind.core import conditions, handles, token_format, well_known_scopes
from rescind.core.conditions import Conditions
from rescind.core.delegation import DelegationLimits, Right
from rescind.core.posture import STRICT, Posture
from rescind.core.record import (
    MAX_LABELS,
    MAX_LINEAGE,
    MAX_NAMES_BYTES,
    MAX_SCOPES,
    names_bytes,
)
from rescind.core.scopes import parse
from rescind.core.token_format import Kind
from rescind.errors import ConditionError, PostureError, ScopeError, SelectorError
from rescind_authority.actors import RESERVED
from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.ports.enrolments import Binding
from rescind_authority.ports.token_grant import Device, TokenGrant

MAX_TTL_S = 366 * 24 * 3600
DEFAULT_TTL_S = 3600
MIN_IDLE_S = 60
MAX_AUDIENCE = 64
MAX_PATTERNS = 16
MAX_INSTANCES = 10_000

_ADMINISTRATORS = "admin:"
_CREDENTIAL = re.compile(f"service:{well_known_scopes.SERVICE}")
_MAX_AUDIENCE_BYTES = 256
_MAX_REASON = 512
_MAX_USER_AGENT = 512
_MAX_LABEL = 256
_ALIKE = "another key differs from it in case or in the form of its characters alone: use one"

_SUBJECT = re.compile(r"[a-z][a-z0-9_.-]{0,31}:\S(?:.*\S)?", re.DOTALL)
_MANY_SUBJECTS = re.compile(r"\*|[a-z][a-z0-9_.-]{0,31}:(?:[^*]*/)?\*")


class FieldErrors:
    """Collect the errors of a request, to report them all at once."""

    def __init__(self) -> None:
        self._problems: list[FieldError] = []

    def add(self, field: str, detail: str) -> None:
        """Add an error."""
        self._problems.append(FieldError(field, detail))

    def raise_if_any(self) -> None:
        """Raise InvalidRequestError with all collected errors, if there are any."""
        if self._problems:
            raise InvalidRequestError(*self._problems)

    def root_subject(self, text: str, kind: Kind) -> str:
        """Validate the subject of a token that is not delegated: no name below another subject.

        The holders of a subject's tokens can delegate to `<subject>/<name>`. An issued token of
        that name would be one that they can make too.
        """
        subject = self.subject(text, kind)
        if "/" in subject:
            self.add(
                "subject",
                "`/` is reserved for delegation, which makes <the parent's subject>/<name>: issue "
                "for a subject without it",
            )
        return subject

    def subject(self, text: str, kind: Kind) -> str:
        """Validate the subject of a token. `#` is reserved for subjects of foreign issuers."""
        subject = _to_nfc(text)
        if subject.startswith(RESERVED):
            self.add("subject", f"subjects {RESERVED}… are reserved for rescind itself")
        if subject.startswith(_ADMINISTRATORS) and kind is not Kind.ADMIN:
            self.add(
                "subject", f"subjects {_ADMINISTRATORS}… are reserved for tokens of kind admin"
            )
        if not _SUBJECT.fullmatch(subject) or "#" in subject:
            self.add(
                "subject",
                "expected <type>:<name> without '#', such as agent:billing-bot or user:42",
            )
        else:
            self._validate_handle("subject", f"subject:{subject}")
        return subject

    def name(self, field: str, text: str | None) -> str | None:
        """Validate the name of a tenant, a client or a session."""
        if text is None:
            return None
        name = _to_nfc(text)
        self._validate_handle(field, f"{field}:{name}")
        return name

    def labels(self, labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Validate labels, and return them sorted."""
        if len(labels) > MAX_LABELS:
            self.add("labels", f"at most {MAX_LABELS} labels, these are {len(labels)}")
        for key, text in labels.items():
            if not key or "=" in key:
                self.add(f"labels.{key}", "a key is not empty and has no '='")
            else:
                self._validate_handle(f"labels.{key}", f"label:{key}={text}")
        for key in handles.alike(labels):
            self.add(f"labels.{key}", _ALIKE)
        return tuple(sorted((_to_nfc(key), _to_nfc(text)) for key, text in labels.items()))

    def scopes(self, scopes: Iterable[str]) -> tuple[str, ...]:
        """Validate scopes, and return them sorted without repeats."""
        distinct = tuple(sorted(set(scopes)))
        if len(distinct) > MAX_SCOPES:
            self.add("scopes", f"at most {MAX_SCOPES} scopes, these are {len(distinct)}")
        for scope in distinct:
            self._reject_token("scopes", scope)
            try:
                parse(scope)
            except ScopeError as error:
                self.add("scopes", str(error))
        return distinct

    def credential(
        self,
        subject: str,
        kind: Kind,
        *,
        scopes: Collection[str],
        audience: Collection[str],
        limits: DelegationLimits,
    ) -> DelegationLimits:
        """Validate that a credential of sidecars has no other use, and forbid its delegation."""
        if not well_known_scopes.is_credential(scopes):
            return limits
        for field, wrong, expected in (
            ("kind", kind is not Kind.SERVICE, "of kind service"),
            (
                "subject",
                not _CREDENTIAL.fullmatch(subject),
                f"for service:{well_known_scopes.SERVICE}",
            ),
            ("scopes", set(scopes) != {well_known_scopes.VERIFY}, "without any other scope"),
            (
                "audience",
                set(audience) != {well_known_scopes.AUDIENCE},
                f"for {well_known_scopes.AUDIENCE} alone",
            ),
            ("max_depth", bool(limits.max_depth), "without a max_depth, or with 0"),
            ("may_speak_for", bool(limits.may_speak_for), "without may_speak_for"),
        ):
            if wrong:
                self.add(
                    field,
                    f"a token with {well_known_scopes.VERIFY} is a credential of sidecars: "
                    f"{expected}",
                )
        return replace(limits, may_speak_for=(), max_depth=0)

    def sidecars(self, requested: Binding | None, scopes: Collection[str]) -> Binding:
        """Validate the limits of a credential's sidecars; the default posture is strict."""
        if not well_known_scopes.is_credential(scopes):
            if requested is not None:
                self.add("sidecars", f"only a token with {well_known_scopes.VERIFY} binds sidecars")
            return Binding()
        requested = requested or Binding()
        if requested.instances is not None and not 1 <= requested.instances <= MAX_INSTANCES:
            self.add("sidecars.instances", f"expected 1 to {MAX_INSTANCES:,}")
        try:
            return replace(requested, posture=str(Posture.parse(requested.posture or str(STRICT))))
        except PostureError as error:
            self.add("sidecars.posture", str(error))
            return requested

    def audience(self, audience: Iterable[str]) -> tuple[str, ...]:
        """Validate the services that may accept a token, and return them sorted without repeats."""
        distinct = tuple(sorted({_to_nfc(name) for name in audience}))
        if len(distinct) > MAX_AUDIENCE:
            self.add("audience", f"at most {MAX_AUDIENCE} services, these are {len(distinct)}")
        for name in distinct:
            self._reject_token("audience", name)
            length = len(name.encode(errors="surrogatepass"))
            if not name.strip() or not name.isprintable() or length > _MAX_AUDIENCE_BYTES:
                self.add(
                    "audience",
                    f"{_shorten(name)} is not a valid service name: expected printable text of at "
                    f"most {_MAX_AUDIENCE_BYTES} bytes",
                )
        return distinct

    def limits(self, may_speak_for: Sequence[str], max_depth: int | None) -> DelegationLimits:
        """Validate to which subjects, and how deep, a token may be delegated."""
        patterns = tuple(sorted({_to_nfc(text) for text in may_speak_for}))
        if len(patterns) > MAX_PATTERNS:
            self.add("may_speak_for", f"at most {MAX_PATTERNS} patterns, these are {len(patterns)}")
        for pattern in patterns:
            is_subject = "*" not in pattern and _SUBJECT.fullmatch(pattern)
            if "#" in pattern or not (is_subject or _MANY_SUBJECTS.fullmatch(pattern)):
                self.add(
                    "may_speak_for",
                    f"{_shorten(pattern)} is not a valid pattern: expected a subject, or one that "
                    "ends in `*` after `:` or `/`, such as user:42 or agent:team/*",
                )
            elif pattern != "*":
                self._validate_handle("may_speak_for", f"subject:{pattern}")
        if max_depth is not None and not 0 <= max_depth <= MAX_LINEAGE:
            self.add("max_depth", f"expected 0 (no delegation) to {MAX_LINEAGE} levels")
        return DelegationLimits(patterns, max_depth)

    def policy(
        self,
        limits: DelegationLimits,
        self_service: Iterable[Right] | None,
        *,
        max_overlap_s: float | None = None,
        reuse_denies: bool = False,
    ) -> DelegationLimits:
        """Validate what a token's holder may do at the authority, and add it to its limits."""
        if max_overlap_s is not None and not 0 <= max_overlap_s <= MAX_TTL_S:
            self.add("max_overlap", f"expected seconds, from 0 to {MAX_TTL_S} (366 days)")
            max_overlap_s = None
        return replace(
            limits,
            self_service=None if self_service is None else tuple(sorted(set(self_service))),
            max_overlap_us=limits.max_overlap_us
            if max_overlap_s is None
            else round(max_overlap_s * 1_000_000),
            reuse_denies=reuse_denies,
        )

    def ttl_us(self, ttl_s: float) -> int:
        """Validate a lifetime, and return it in microseconds."""
        if not 0 < ttl_s <= MAX_TTL_S:
            self.add("ttl", f"expected seconds, more than 0 and at most {MAX_TTL_S} (366 days)")
            return 1
        return max(1, round(ttl_s * 1_000_000))

    def idle_us(self, idle_s: float | None, kind: Kind, *, default_s: float) -> int | None:
        """Validate the idle time after which a session ends; None means never."""
        if kind is not Kind.SESSION:
            if idle_s is not None:
                self.add("idle", "accepted only for a session")
            return None
        seconds = default_s if idle_s is None else idle_s
        if not seconds:
            return None
        if not MIN_IDLE_S <= seconds <= MAX_TTL_S:
            self.add(
                "idle",
                f"expected seconds, from {MIN_IDLE_S} to {MAX_TTL_S} (366 days), or 0 for none",
            )
            return None
        return round(seconds * 1_000_000)

    def conditions(self, addresses: Iterable[str], verifier: Mapping[str, str]) -> Conditions:
        """Validate where a token may be used, and return the sorted conditions."""
        networks: set[str] = set()
        for text in addresses:
            try:
                networks.add(conditions.network(text))
            except ConditionError as error:
                self.add("addresses", str(error))
        if len(networks) > conditions.MAX_ADDRESSES:
            self.add("addresses", f"at most {conditions.MAX_ADDRESSES}, these are {len(networks)}")
        if len(verifier) > conditions.MAX_VERIFIER_LABELS:
            self.add("verifier", f"at most {conditions.MAX_VERIFIER_LABELS} labels")
        for key, text in verifier.items():
            both = f"{key}{text}"
            self._reject_token("verifier", both)
            if not key or "=" in key or "," in both or len(both) > _MAX_LABEL:
                self.add(f"verifier.{key[:40]}", "expected a key without '=', and no ','")
            elif not both.isprintable():
                self.add(f"verifier.{key[:40]}", "expected printable text")
        for key in handles.alike(verifier):
            self.add(f"verifier.{key[:40]}", _ALIKE)
        if not (networks or verifier):
            return conditions.UNCONDITIONAL
        return Conditions(tuple(sorted(networks)), tuple(sorted(verifier.items())))

    def device(self, user_agent: str | None, address: str | None) -> Device:
        """Validate the device of a token. A long user agent is cut: nothing depends on it."""
        if address is not None:
            try:
                address = str(ip_address(address.partition("%")[0]))
            except ValueError:
                self.add("address", "expected an IP address, such as 192.0.2.7 or 2001:db8::7")
        shown = user_agent and "".join(each if each.isprintable() else " " for each in user_agent)
        shown = shown and token_format.hidden(shown)
        return Device(shown and shown[:_MAX_USER_AGENT], address)

    def reason(self, text: str) -> str:
        """Validate the reason that a caller states for a command."""
        reason = _to_nfc(text)
        self._reject_token("reason", reason)
        if len(reason) > _MAX_REASON or not all(c.isprintable() or c == "\n" for c in reason):
            self.add("reason", f"expected printable text of at most {_MAX_REASON} characters")
        return reason

    def _reject_token(self, field: str, text: str) -> None:
        """Reject a text that contains a token.

        The text is stored and shown. A token that a caller pastes must not appear there.
        """
        if token_format.contained(text):
            self.add(
                field,
                "the text contains a token, and would be stored and shown: use the token's id",
            )

    def _validate_handle(self, field: str, text: str) -> None:
        try:
            handles.parse(text)
        except SelectorError as error:
            self.add(field, str(error))


def too_many_names(grant: TokenGrant) -> FieldError | None:
    """Return the error of a token with more names than a verifier stores for one, or None."""
    size = names_bytes(grant.handles, grant.labels, grant.lineage, grant.chain)
    if size <= MAX_NAMES_BYTES:
        return None
    return FieldError(
        "labels",
        f"the labels, the handles and the lineage of a token have at most {MAX_NAMES_BYTES} bytes "
        f"together, and these have {size}: use fewer or shorter labels and names",
    )


def _to_nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _shorten(text: str) -> str:
    return repr(text[:40]) + ("…" if len(text) > 40 else "")  # noqa: PLR2004 enough to find it by
