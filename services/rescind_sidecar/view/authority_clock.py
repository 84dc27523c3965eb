"""Two bounds of the authority's time, computed when a reply arrives.

The local wall clock is never read. The rules of this file:

* Every result errs on the side that denies, also where CLOCK_BOOTTIME is 10 % slow or fast against
  the authority's clock (the assumption of `core.lease`).
* Neither bound jumps to the side that accepts, even if a reply shows a clock that was set back, or
  comes from another server whose clock is behind. The bound continues from its last value, a tenth
  slower or faster than the local clock, until the replies have caught up with it. So it never
  stands still, and the drift of two accurate clocks does not add up.
* A fraction is rounded to the side that denies: `earliest_us` and `before_ns` down, the others up.
"""

from dataclasses import dataclass

from rescind.core.times import NS_PER_US


@dataclass(frozen=True, slots=True)
class Mark:
    """A bound at one instant: the authority's clock in Unix µs, and CLOCK_BOOTTIME in ns."""

    us: int
    ns: int

    def slow_us(self, now_ns: int, *, up: bool) -> int:
        """Return the time of a clock that began here and runs at 9/10 of CLOCK_BOOTTIME."""
        return self.us + _divide((now_ns - self.ns) * 9, 10 * NS_PER_US, up=up)

    def fast_us(self, now_ns: int, *, up: bool) -> int:
        """Return the time of a clock that began here and runs at 10/9 of CLOCK_BOOTTIME."""
        return self.us + _divide((now_ns - self.ns) * 10, 9 * NS_PER_US, up=up)

    def slow_ns(self, time_us: int, *, up: bool) -> int:
        """Return the CLOCK_BOOTTIME at which the slow clock shows `time_us`."""
        return self.ns + _divide((time_us - self.us) * NS_PER_US * 10, 9, up=up)

    def fast_ns(self, time_us: int, *, up: bool) -> int:
        """Return the CLOCK_BOOTTIME at which the fast clock shows `time_us`."""
        return self.ns + _divide((time_us - self.us) * NS_PER_US * 9, 10, up=up)


@dataclass(frozen=True, slots=True)
class AuthorityTime:
    """The time in the last reply, and the bounds at its arrival.

    `sent` and `received` contain the same time of the authority, which it read between these two
    local instants: when the request left, and when the reply arrived.
    """

    sent: Mark
    received: Mark
    latest: Mark
    earliest: Mark

    @classmethod
    def learned(
        cls, authority_us: int, *, sent_ns: int, received_ns: int, before: "AuthorityTime | None"
    ) -> "AuthorityTime":
        """Return the bounds after a reply.

        The authority read `authority_us` between the two instants of CLOCK_BOOTTIME. `before` is
        the previous value; None before the first reply.
        """
        sent, received = Mark(authority_us, sent_ns), Mark(authority_us, received_ns)
        if before is None:
            return cls(sent, received, latest=sent, earliest=received)
        return cls(
            sent,
            received,
            latest=Mark(before.latest_us(received_ns), received_ns),
            earliest=Mark(before.earliest_us(received_ns), received_ns),
        )

    def earliest_us(self, now_ns: int) -> int:
        """Return a time that the authority's clock has certainly reached."""
        return min(self.received.slow_us(now_ns, up=False), self.earliest.fast_us(now_ns, up=False))

    def latest_us(self, now_ns: int) -> int:
        """Return a time that the authority's clock has certainly not passed."""
        return max(self.sent.fast_us(now_ns, up=True), self.latest.slow_us(now_ns, up=True))

    def before_ns(self, time_us: int) -> int:
        """Return the local instant until which `time_us` has certainly not come."""
        return min(self.sent.fast_ns(time_us, up=False), self.latest.slow_ns(time_us, up=False))

    def after_ns(self, time_us: int) -> int:
        """Return the local instant from which `time_us` has certainly come."""
        return max(self.received.slow_ns(time_us, up=True), self.earliest.fast_ns(time_us, up=True))

    def ahead_us(self, now_ns: int) -> int:
        """Return by how much `latest_us` exceeds the bound of the last reply alone."""
        return self.latest_us(now_ns) - self.sent.fast_us(now_ns, up=True)

    def since_us(self, time_us: int, now_ns: int) -> int:
        """Return the age of a time of the authority, if both clocks run equally fast.

        It serves measurements alone: no decision uses it, and a bound would distort the figure.
        """
        return max(0, self.sent.us + (now_ns - self.sent.ns) // NS_PER_US - time_us)


def _divide(number: int, divisor: int, *, up: bool) -> int:
    return -(-number // divisor) if up else number // divisor
