"""The oracle: one clock, every operation, and the results that must never be seen (design 12).

The oracle records when each command was requested, answered and enforced, and when each sidecar's
acknowledgement arrived. It judges every answer of every verifier by what was recorded before the
check began. CLOCK_BOOTTIME of this host, in ns, is the one clock.

    I1  nothing is accepted by a check that began after the receipt
    I2  nor by one that began later than a full wait after the command was answered
    I5  nor at a sidecar that had acknowledged it
    I7  nor where it was denied as revoked before
    I8  nothing that was never issued, or for another audience, is accepted
        and nothing good is denied, but for want of a lease or an answer
"""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rescind.client import clock
from rescind.core.verdict import Allowed, Reason, Verdict

EXCUSED = frozenset({Reason.NO_LEASE, Reason.UNAVAILABLE})


@dataclass(slots=True)
class Command:
    """A command that holds tokens. Each time is set once, in this order; None: not yet."""

    asked_ns: int
    waits: bool = False
    seq: int | None = None
    answered_ns: int | None = None
    enforced_ns: int | None = None
    lift_asked_ns: int | None = None  # of a suspension
    lift_enforced_ns: int | None = None


@dataclass(slots=True, eq=False)
class CheckedToken:
    """A token, and all commands on it. `parent` is the token that it was delegated from.

    A token whose secret is rotated also has a `grant`: commands on the token apply to the grant,
    which outlives the secret.
    """

    token: str
    token_id: str
    audience: str | None = None
    parent: "CheckedToken | None" = None
    grant: "CheckedToken | None" = None
    issued: bool = True
    revocation: Command | None = None
    suspensions: list[Command] = field(default_factory=list[Command])

    def lineage(self) -> Iterator["CheckedToken"]:
        """Yield this token and its ancestors up to the root."""
        each: CheckedToken | None = self
        while each is not None:
            yield each
            each = each.grant or each.parent

    @property
    def whole(self) -> "CheckedToken":
        """The object to which a command on the token applies."""
        return self.grant or self

    @property
    def doomed(self) -> bool:
        """True if its end was requested: from here on either answer is right, for a while."""
        return any(each.revocation is not None for each in self.lineage())

    @property
    def suspended(self) -> bool:
        """True if a suspension was requested that is not certainly over."""
        return any(
            each.lift_enforced_ns is None for known in self.lineage() for each in known.suspensions
        )

    @property
    def holds(self) -> int:
        """The number of all suspensions so far."""
        return sum(len(each.suspensions) for each in self.lineage())


@dataclass(frozen=True, slots=True)
class Premise:
    """The recorded facts of a token before a check began, by which alone the check is judged."""

    began_ns: int
    doomed: bool
    suspended: bool
    holds: int
    commands: tuple[Command, ...]
    acknowledged_seq: int


class Oracle:
    """The judge of all checks. Any thread may call it; its counts are exact all the same."""

    def __init__(self, *, wait_ns: int) -> None:
        self.wait_ns = wait_ns
        self.excused = EXCUSED
        self._lock = threading.Lock()
        self._denied_ns: dict[tuple[str, str], int] = {}
        self.acknowledged: dict[str, int] = {}
        self.violations: list[str] = []
        self.checks: Counter[str] = Counter()
        self.denied_good: Counter[str] = Counter()
        self.commands: Counter[str] = Counter()

    def premise(self, known: CheckedToken, service: str) -> Premise:
        """Record the known facts, and then the time: a check begins after this."""
        acknowledged_seq = self.acknowledged.get(service, 0)
        commands = tuple(
            command
            for each in known.lineage()
            for command in (each.revocation, *each.suspensions)
            if command is not None
        )
        doomed, suspended = known.doomed, known.suspended
        return Premise(
            began_ns=clock.boottime_ns(),
            doomed=doomed,
            suspended=suspended,
            holds=known.holds,
            commands=commands,
            acknowledged_seq=acknowledged_seq,
        )

    def judge(self, known: CheckedToken, service: str, verdict: Verdict, premise: Premise) -> None:
        """Record the verdict of a verifier, and a violation if it contradicts the premise."""
        with self._lock:
            self.checks["accepted" if isinstance(verdict, Allowed) else "denied"] += 1
            if isinstance(verdict, Allowed):
                self._accepted(known, service, premise)
            elif verdict.reason is Reason.REVOKED:
                self._denied_ns.setdefault((service, known.token), clock.boottime_ns())
                if not known.doomed:
                    self._violation("I8", known, service, "is good, and was denied as revoked")
            elif known.issued and not known.doomed and not _held(known, premise):
                self._denied_good(known, service, verdict.reason)

    def _accepted(self, known: CheckedToken, service: str, premise: Premise) -> None:
        if not known.issued:
            self._violation("I8", known, service, "was never issued, and was accepted")
        if known.audience not in (None, service):
            self._violation("I8", known, service, "is for another service, and was accepted")
        denied_ns = self._denied_ns.get((service, known.token))
        if denied_ns is not None and premise.began_ns > denied_ns:
            self._violation("I7", known, service, "was accepted after it was denied as revoked")
        for command in premise.commands:
            if command.lift_asked_ns is not None:
                continue  # it may be over
            if command.enforced_ns is not None and premise.began_ns > command.enforced_ns:
                self._violation("I1", known, service, "was accepted after its receipt")
            if (
                command.answered_ns is not None
                and premise.began_ns > command.answered_ns + self.wait_ns
            ):
                self._violation("I2", known, service, "was accepted after a full wait")
            if command.seq is not None and premise.acknowledged_seq >= command.seq:
                self._violation("I5", known, service, "was accepted after the acknowledgement")

    def _denied_good(self, known: CheckedToken, service: str, reason: Reason) -> None:
        self.denied_good[reason] += 1
        elsewhere = known.audience not in (None, service)
        if reason not in self.excused and not (elsewhere and reason is Reason.WRONG_AUDIENCE):
            self._violation("I8", known, service, f"is good, and was denied as {reason}")

    def _violation(self, rule: str, known: CheckedToken, service: str, what: str) -> None:
        self.violations.append(f"{rule} {service}: {known.token_id} {what}")


def _held(known: CheckedToken, premise: Premise) -> bool:
    """Return True if a suspension explains a denial, also one that came and went meanwhile."""
    return premise.suspended or known.suspended or premise.holds != known.holds
