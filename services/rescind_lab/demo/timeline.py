"""Compute facts and claims about each service after a revocation, from measured calls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind.core.times import NS_PER_MS
from rescind_lab.demo.calls import MeasuredCall


@dataclass(frozen=True, slots=True)
class RevocationTimes:
    """The times of a revocation, CLOCK_BOOTTIME in ns.

    `acknowledged_ns`: when the acknowledgement of each service's sidecar arrived.
    """

    commit_ns: int
    answered_ns: int
    acknowledged_ns: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ServiceLane:
    """The results of one service. Times are in ms after the commit; None if it did not happen."""

    service: str
    last_accepted_ms: float | None
    first_denied_ms: float | None
    acknowledged_ms: float | None
    accepted: int
    denied: int
    reasons: tuple[str, ...]
    began_after_acknowledgement: int
    accepted_after_acknowledgement: int
    other_calls: int
    other_denied: int


@dataclass(frozen=True, slots=True)
class MeasuredClaim:
    """A claim of the demo, and whether the measurement confirms it."""

    text: str
    holds: bool


def build_lanes(
    calls: Sequence[MeasuredCall],
    times: RevocationTimes,
    *,
    services: Sequence[str],
    revoked: str,
) -> tuple[ServiceLane, ...]:
    """Summarise the calls at each service; a call counts by when it began."""
    return tuple(_build_lane(calls, times, service, revoked) for service in services)


def check_claims(lanes: Sequence[ServiceLane]) -> tuple[MeasuredClaim, ...]:
    """Return the claims, and whether the measurement confirms each.

    A claim about something that was not measured does not hold.
    """
    return (
        MeasuredClaim(
            "every service accepted the token before the revocation, and then denied it as revoked",
            all(_is_denied_after_accepted(lane) for lane in lanes),
        ),
        MeasuredClaim(
            "every call with the revoked token that began after the sidecar's acknowledgement "
            "was denied",
            all(
                lane.began_after_acknowledgement > 0 and lane.accepted_after_acknowledgement == 0
                for lane in lanes
            ),
        ),
        MeasuredClaim(
            "the other token was accepted in every call",
            all(lane.other_calls > 0 and lane.other_denied == 0 for lane in lanes),
        ),
    )


def _is_denied_after_accepted(lane: ServiceLane) -> bool:
    return (
        lane.last_accepted_ms is not None
        and lane.first_denied_ms is not None
        and lane.last_accepted_ms < lane.first_denied_ms
        and lane.reasons == ("revoked",)
    )


def _build_lane(
    calls: Sequence[MeasuredCall], times: RevocationTimes, service: str, revoked: str
) -> ServiceLane:
    own = [call for call in calls if call.service == service]
    hit = [call for call in own if call.token == revoked]
    other = [call for call in own if call.token != revoked]
    accepted = [call for call in hit if call.accepted]
    denied = [call for call in hit if not call.accepted]
    acknowledged_ns = times.acknowledged_ns.get(service)
    after = (
        [] if acknowledged_ns is None else [call for call in hit if call.began_ns > acknowledged_ns]
    )

    def to_ms(moment_ns: int | None) -> float | None:
        return None if moment_ns is None else (moment_ns - times.commit_ns) / NS_PER_MS

    return ServiceLane(
        service=service,
        last_accepted_ms=to_ms(max((call.began_ns for call in accepted), default=None)),
        first_denied_ms=to_ms(min((call.began_ns for call in denied), default=None)),
        acknowledged_ms=to_ms(acknowledged_ns),
        accepted=len(accepted),
        denied=len(denied),
        reasons=tuple(sorted({call.reason for call in denied})),
        began_after_acknowledgement=len(after),
        accepted_after_acknowledgement=sum(call.accepted for call in after),
        other_calls=len(other),
        other_denied=sum(not call.accepted for call in other),
    )
