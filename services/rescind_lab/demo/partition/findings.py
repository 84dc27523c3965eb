"""Compute facts and claims about each service in a partition, from measured calls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rescind.core.times import NS_PER_MS, NS_PER_S
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import MeasuredClaim

_NO_LEASE, _REVOKED = "no_lease", "revoked"


@dataclass(frozen=True, slots=True)
class PartitionTimes:
    """The times of the partition, CLOCK_BOOTTIME in ns, in this order."""

    cut_ns: int
    commit_ns: int
    lapse_ns: int  # the latest time: the end of a lease that was requested just before the cut
    receipt_ns: int  # when the receipt arrived
    healed_ns: int

    @property
    def lease_s(self) -> float:
        """Return the longest time from the cut to the end of the lease, in seconds."""
        return (self.lapse_ns - self.cut_ns) / NS_PER_S


@dataclass(frozen=True, slots=True)
class PartitionLane:
    """The results of one service. Times are in ms after the commit; None if it did not happen.

    `outcome` and `enforced_ms` are copied from the receipt. Fields concern the revoked token,
    except those with `other` in their name. `reasons_while_cut` and `lapsed_…` (from the lapse
    until the proxy was healed) concern both tokens.
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


def build_lanes(
    calls: Sequence[MeasuredCall],
    times: PartitionTimes,
    receipt: Mapping[str, Any],
    *,
    services: Sequence[str],
    cut_off: str,
    revoked: str,
) -> tuple[PartitionLane, ...]:
    """Summarise the calls at each service; a call counts by when it began."""
    entries = {str(each["service"]): each for each in receipt["verifiers"]}
    return tuple(
        _build_lane(
            [call for call in calls if call.service == service],
            times,
            entries.get(service, {}),
            service=service,
            cut_off=service == cut_off,
            revoked=revoked,
        )
        for service in services
    )


def check_claims(
    lanes: Sequence[PartitionLane], times: PartitionTimes
) -> tuple[MeasuredClaim, ...]:
    """Return the claims, and whether the measurement confirms each.

    A claim about something that was not measured does not hold.
    """
    connected = [lane for lane in lanes if not lane.cut_off]
    (isolated,) = [lane for lane in lanes if lane.cut_off]
    after = sum(lane.began_after_receipt for lane in lanes)
    accepted = sum(lane.accepted_after_receipt for lane in lanes)
    return (
        MeasuredClaim(
            "connected services accepted the token before the revocation, and then denied it as "
            "revoked",
            bool(connected) and all(_is_denied_after_accepted(lane) for lane in connected),
        ),
        MeasuredClaim(
            f"{isolated.service}, which was cut off, still accepted the token after the revocation",
            isolated.last_accepted_ms is not None and isolated.last_accepted_ms > 0,
        ),
        MeasuredClaim(
            f"its lease ended within {times.lease_s:.1f} s of the cut, and it denied both tokens "
            "with no_lease",
            _is_lapsed(isolated),
        ),
        MeasuredClaim(
            f"then the receipt arrived; in it, {isolated.service} is lapsed and the others "
            "acknowledged",
            _is_reported_as_lapsed(isolated, times) and _all_acknowledged(connected),
        ),
        MeasuredClaim(
            f"{after} calls with that token began after the receipt; {accepted} were accepted",
            all(_is_denied_after_receipt(lane) for lane in lanes),
        ),
        MeasuredClaim(
            "connected services accepted the other token in every call",
            all(lane.other_calls > 0 and lane.other_denied == 0 for lane in connected),
        ),
        MeasuredClaim(
            f"healed, {isolated.service} denied the revoked token as revoked, and accepted the "
            "other",
            _has_recovered(isolated, times),
        ),
    )


def _is_denied_after_accepted(lane: PartitionLane) -> bool:
    return (
        lane.last_accepted_ms is not None
        and lane.first_denied_ms is not None
        and lane.last_accepted_ms < lane.first_denied_ms
        and lane.reasons == (_REVOKED,)
    )


def _is_reported_as_lapsed(lane: PartitionLane, times: PartitionTimes) -> bool:
    return (
        lane.outcome == "lapsed"
        and lane.first_denied_ms is not None
        and lane.first_denied_ms < _to_ms(times.receipt_ns, times)
    )


def _all_acknowledged(lanes: Sequence[PartitionLane]) -> bool:
    return all(lane.outcome == "acknowledged" for lane in lanes)


def _is_denied_after_receipt(lane: PartitionLane) -> bool:
    return lane.began_after_receipt > 0 and lane.accepted_after_receipt == 0


def _is_lapsed(lane: PartitionLane) -> bool:
    return (
        lane.lapsed_calls > 0
        and lane.lapsed_accepted == 0
        and lane.reasons_while_cut == (_NO_LEASE,)
        and lane.other_denied > 0
    )


def _has_recovered(lane: PartitionLane, times: PartitionTimes) -> bool:
    healed_ms = _to_ms(times.healed_ns, times)
    return (
        lane.first_revoked_ms is not None
        and lane.first_revoked_ms > healed_ms
        and lane.other_accepted_again_ms is not None
        and lane.other_accepted_again_ms > healed_ms
    )


def _build_lane(
    own_calls: Sequence[MeasuredCall],
    times: PartitionTimes,
    entry: Mapping[str, Any],
    *,
    service: str,
    cut_off: bool,
    revoked: str,
) -> PartitionLane:
    hit = [call for call in own_calls if call.token == revoked]
    other = [call for call in own_calls if call.token != revoked]
    accepted = [call for call in hit if call.accepted]
    denied = [call for call in hit if not call.accepted]
    after = [call for call in hit if call.began_ns > times.receipt_ns]
    while_cut = [call for call in own_calls if times.cut_ns <= call.began_ns < times.healed_ns]
    lapsed = [call for call in while_cut if cut_off and call.began_ns > times.lapse_ns]
    other_denied = [call for call in other if not call.accepted]
    return PartitionLane(
        service=service,
        cut_off=cut_off,
        last_accepted_ms=_find_ms(accepted, times, last=True),
        first_denied_ms=_find_ms(denied, times),
        first_revoked_ms=_find_ms([call for call in denied if call.reason == _REVOKED], times),
        reasons=tuple(sorted({call.reason for call in denied})),
        reasons_while_cut=tuple(sorted({call.reason for call in while_cut if not call.accepted})),
        lapsed_calls=len(lapsed),
        lapsed_accepted=sum(call.accepted for call in lapsed),
        outcome=str(entry.get("outcome", "not reported")),
        enforced_ms=entry.get("latency_ms"),
        began_after_receipt=len(after),
        accepted_after_receipt=sum(call.accepted for call in after),
        other_calls=len(other),
        other_denied=len(other_denied),
        other_denied_from_ms=_find_ms(other_denied, times),
        other_accepted_again_ms=_find_ms(_select_accepted_again(other), times),
    )


def _select_accepted_again(calls: Sequence[MeasuredCall]) -> list[MeasuredCall]:
    """Return the calls that were accepted after the last denial; none if none was denied."""
    last_denial_ns = max((call.began_ns for call in calls if not call.accepted), default=None)
    if last_denial_ns is None:
        return []
    return [call for call in calls if call.accepted and call.began_ns > last_denial_ns]


def _find_ms(
    calls: Sequence[MeasuredCall], times: PartitionTimes, *, last: bool = False
) -> float | None:
    """Return when the first of the calls began, or the last.

    The time is in ms after the commit. It is None without calls.
    """
    began = [call.began_ns for call in calls]
    return None if not began else _to_ms(max(began) if last else min(began), times)


def _to_ms(moment_ns: int, times: PartitionTimes) -> float:
    return (moment_ns - times.commit_ns) / NS_PER_MS
