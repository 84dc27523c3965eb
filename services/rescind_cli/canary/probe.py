"""The canary: a token without permissions is issued, revoked and checked, as a real one would be.

It finds the same fault as an attacker would: a verifier that still accepts after the receipt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from rescind.client.admin import Issued, RevocationDetails
from rescind.core.verdict import Allowed, Reason, Verdict
from rescind_cli.output import receipt_progress

SUBJECT = "service:rescind-canary"
_TTL_S = 600


class AdminApi(Protocol):
    """The part of the admin API that the canary uses; `rescind.client.Admin` implements it."""

    def issue(self, *, subject: str, kind: str, ttl: float) -> Issued:
        """Issue a token."""
        ...

    def revoke(self, *selector: str, reason: str, wait: bool, timeout: float) -> RevocationDetails:
        """Revoke a token, and wait for the receipt."""
        ...


class Checker(Protocol):
    """The part of a verifier that the canary uses; `rescind.Verifier` implements it."""

    def check(self, token: str) -> Verdict:
        """Check a token."""
        ...


@dataclass(frozen=True, slots=True)
class CanaryFault:
    """A wrong verdict, and the sidecar that returned it."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class VerifierDenial:
    """How a verifier came to deny the canary's token, according to the receipt."""

    service: str
    instance: str
    outcome: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The result of one round.

    `enforced_ms` is from the commit, None if no receipt came in time.
    """

    revocation_id: str
    enforced_ms: float | None
    verifiers: tuple[VerifierDenial, ...]
    in_grace: int
    faults: tuple[CanaryFault, ...]

    def document(self) -> Mapping[str, object]:
        """Return the result as a document for `--json`."""
        return asdict(self)


class Canary:
    """Run rounds: issue, check, revoke, wait for the receipt, and check again."""

    def __init__(self, authority: AdminApi, checkers: Mapping[str, Checker]) -> None:
        self._authority = authority
        self._checkers = checkers

    def run_round(self, *, timeout_s: float) -> RoundResult:
        """Run one round. Raises RescindError if a request to the authority fails."""
        issued = self._authority.issue(subject=SUBJECT, kind="service", ttl=_TTL_S)
        assert issued.token is not None  # noqa: S101 - every call has a key of its own
        token = issued.token.reveal()
        faults = [
            CanaryFault(where, f"denied the valid token: {verdict}")
            for where, verdict in self._check_everywhere(token)
            if verdict != _ACCEPTED
        ]
        done = self._authority.revoke(
            f"token:{issued.token_id}", reason="canary", wait=True, timeout=timeout_s
        )
        receipt = done.get("receipt")
        if receipt is None:
            return RoundResult(done["id"], None, (), 0, tuple(faults))
        # From here on no verifier may accept it: these checks start after the receipt.
        faults += [
            CanaryFault(where, f"answered {verdict} after the receipt, instead of revoked")
            for where, verdict in self._check_everywhere(token)
            if verdict != Reason.REVOKED and not receipt_progress.grace_in(receipt)
        ]
        verifiers = tuple(
            VerifierDenial(each["service"], each["instance"], each["outcome"], each["latency_ms"])
            for each in receipt["verifiers"]
        )
        # With very many verifiers, the receipt lists one page, and counts all.
        summary = receipt.get("summary")
        latencies_ms = [each.latency_ms for each in verifiers]
        latencies_ms += [each["slowest_ms"] for each in (summary["services"] if summary else ())]
        slowest_ms = max(latencies_ms, default=0.0)
        in_grace = summary["grace"] if summary else len(receipt["grace"])
        return RoundResult(done["id"], slowest_ms, verifiers, in_grace, tuple(faults))

    def _check_everywhere(self, token: str) -> Sequence[tuple[str, str]]:
        return [
            (where, _verdict_text(checker.check(token)))
            for where, checker in self._checkers.items()
        ]


_ACCEPTED = "accepted"


def _verdict_text(verdict: Verdict) -> str:
    return _ACCEPTED if isinstance(verdict, Allowed) else str(verdict.reason)
