"""Facts and claims about each service in a partition, from measured calls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescind.core.times import NS_PER_MS, NS_PER_S
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import Assertion

_NO_LEASE, _REVOKED = "no_lease", "revoked"


@dataclass(frozen=True, slots=True)
class PartitionTimes:
    """The times of the partition, CLOCK_BOOTTIME in ns, in this order."""

    cut_ns: int
    commit_ns: int
    lapse_ns: int  # the latest: the end of a lease requested just before the cut
    receipt_ns: int  # when the answer arrived
    healed_ns: int

    @property
    def lease_s(self) -> float:
        """How long after the cut a lease may last, in seconds."""
        return (self.lapse_ns - self.cut_ns) / NS_PER_S


@dataclass(frozen=True, slots=True)
class PartitionLane:
    """The results of one service. Times are in ms after the commit; None if it did not happen.

    `outcome` and `enforced_ms` are copied from the receipt. Fields concern the revoked token,
    unless their name says otherwise; `reasons_while_cut` and `lapsed_…` (from the lapse until the
    wire was healed) concern both tokens.
    """

    service: str
    cut_off: bool
    last_accepted_ms: float | None
    first_denied_ms: float | None
    first_revoked_ms: float | None
    reasons: tuple[str, ...]
    reasons_while_cut: tuple[str, ...]
    lapsed_calls: int
    lapsed_accepted: int
    outcome: str
    enforced_ms: float | None
    began_after_receipt: int
    accepted_after_receipt: int
    other_calls: int
    other_denied: int
    other_denied_from_ms: float | None
    other_accepted_again_ms: float | None


def lanes(
    calls: Sequence[MeasuredCall],
    moments: PartitionTimes,
    receipt: Mapping[str, Any],
    *,
    services: Sequence[str],
    cut_off: str,
    revoked: str,
) -> tuple[PartitionLane, ...]:
    """Summarise the calls at each service; a call counts by when it began."""
    named = {str(each["service"]): each for each in receipt["verifiers"]}
    return tuple(
        _lane(
            [call for call in calls if call.service == service],
            moments,
            named.get(service, {}),
            service=service,
            cut_off=service == cut_off,
            revoked=revoked,
        )
        for service in services
    )


def claims(lanes: Sequence[PartitionLane], moments: PartitionTimes) -> tuple[Assertion, ...]:
    """Return the claims, and whether the measurement confirms each.

    A claim about something that was not measured does not hold.
    """
    connected = [lane for lane in lanes if not lane.cut_off]
    (alone,) = [lane for lane in lanes if lane.cut_off]
    after = sum(lane.began_after_receipt for lane in lanes)
    accepted = sum(lane.accepted_after_receipt for lane in lanes)
    return (
        Assertion(
            "connected services accepted the revoked token before, and denied it after",
            bool(connected) and all(_denied_after_accepted(lane) for lane in connected),
        ),
        Assertion(
            f"{alone.service}, cut off and alive, went on accepting it, from memory",
            alone.last_accepted_ms is not None and alone.last_accepted_ms > 0,
        ),
        Assertion(
            f"within {moments.lease_s:.1f} s of the cut its lease was over: "
            "no_lease, for both tokens",
            _lapsed(alone),
        ),
        Assertion(
            f"the receipt came later, and says so: {alone.service} lapsed, others acknowledged",
            _named_as_lapsed(alone, moments) and _acknowledged(connected),
        ),
        Assertion(
            f"{after} calls with it began after the receipt, everywhere; {accepted} were accepted",
            all(_denied_after_receipt(lane) for lane in lanes),
        ),
        Assertion(
            "the other token was never denied at a connected service",
            all(lane.other_calls > 0 and lane.other_denied == 0 for lane in connected),
        ),
        Assertion(
            f"healed, {alone.service} came back by itself: one token revoked, the other accepted",
            _recovered(alone, moments),
        ),
    )


def _denied_after_accepted(lane: PartitionLane) -> bool:
    return (
        lane.last_accepted_ms is not None
        and lane.first_denied_ms is not None
        and lane.last_accepted_ms < lane.first_denied_ms
        and lane.reasons == (_REVOKED,)
    )


def _named_as_lapsed(lane: PartitionLane, moments: PartitionTimes) -> bool:
    return (
        lane.outcome == "lapsed"
        and lane.first_denied_ms is not None
        and lane.first_denied_ms < _ms(moments.receipt_ns, moments)
    )


def _acknowledged(lanes: Sequence[PartitionLane]) -> bool:
    return all(lane.outcome == "acknowledged" for lane in lanes)


def _denied_after_receipt(lane: PartitionLane) -> bool:
    return lane.began_after_receipt > 0 and lane.accepted_after_receipt == 0


def _lapsed(lane: PartitionLane) -> bool:
    return (
        lane.lapsed_calls > 0
        and lane.lapsed_accepted == 0
        and lane.reasons_while_cut == (_NO_LEASE,)
        and lane.other_denied > 0
    )


def _recovered(lane: PartitionLane, moments: PartitionTimes) -> bool:
    healed_ms = _ms(moments.healed_ns, moments)
    return (
        lane.first_revoked_ms is not None
        and lane.first_revoked_ms > healed_ms
        and lane.other_accepted_again_ms is not None
        and lane.other_accepted_again_ms > healed_ms
    )


def _lane(
    here: Sequence[MeasuredCall],
    moments: PartitionTimes,
    verified: Mapping[str, Any],
    *,
    service: str,
    cut_off: bool,
    revoked: str,
) -> PartitionLane:
    hit = [call for call in here if call.token == revoked]
    other = [call for call in here if call.token != revoked]
    accepted = [call for call in hit if call.accepted]
    denied = [call for call in hit if not call.accepted]
    after = [call for call in hit if call.began_ns > moments.receipt_ns]
    while_cut = [call for call in here if moments.cut_ns <= call.began_ns < moments.healed_ns]
    lapsed = [call for call in while_cut if cut_off and call.began_ns > moments.lapse_ns]
    other_denied = [call for call in other if not call.accepted]
    return PartitionLane(
        service=service,
        cut_off=cut_off,
        last_accepted_ms=_ms_of(accepted, moments, last=True),
        first_denied_ms=_ms_of(denied, moments),
        first_revoked_ms=_ms_of([call for call in denied if call.reason == _REVOKED], moments),
        reasons=tuple(sorted({call.reason for call in denied})),
        reasons_while_cut=tuple(sorted({call.reason for call in while_cut if not call.accepted})),
        lapsed_calls=len(lapsed),
        lapsed_accepted=sum(call.accepted for call in lapsed),
        outcome=str(verified.get("outcome", "not named")),
        enforced_ms=verified.get("latency_ms"),
        began_after_receipt=len(after),
        accepted_after_receipt=sum(call.accepted for call in after),
        other_calls=len(other),
        other_denied=len(other_denied),
        other_denied_from_ms=_ms_of(other_denied, moments),
        other_accepted_again_ms=_ms_of(_accepted_again(other), moments),
    )


def _accepted_again(calls: Sequence[MeasuredCall]) -> list[MeasuredCall]:
    """Return the calls that were accepted after the last denial; none if none was denied."""
    last_denial_ns = max((call.began_ns for call in calls if not call.accepted), default=None)
    if last_denial_ns is None:
        return []
    return [call for call in calls if call.accepted and call.began_ns > last_denial_ns]


def _ms_of(
    calls: Sequence[MeasuredCall], moments: PartitionTimes, *, last: bool = False
) -> float | None:
    """Return when the first of the calls began, or the last.

    The time is in ms after the commit. It is None without calls.
    """
    began = [call.began_ns for call in calls]
    return None if not began else _ms(max(began) if last else min(began), moments)


def _ms(moment_ns: int, moments: PartitionTimes) -> float:
    return (moment_ns - moments.commit_ns) / NS_PER_MS
