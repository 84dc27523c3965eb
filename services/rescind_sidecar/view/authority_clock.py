"""The authority's time as a sidecar knows it: two bounds, from when replies left and arrived.

The local wall clock is never asked. The rules of this file:

* Every answer is on the side that denies, also where CLOCK_BOOTTIME is 10 % slow or fast against
  the authority's clock (the assumption of `core.lease`).
* Neither bound ever jumps to the side that accepts, whatever a reply shows: a clock that was set
  back, or another server whose clock is behind. From where it stood, a bound goes on a tenth slower
  or faster than the clock here, until the replies have caught up with it. So it never stands still,
  and the drift of two good clocks does not add up.
* A fraction is rounded to the side that denies: `earliest_us` and `before_ns` down, the others up.
"""

from dataclasses import dataclass

from rescind.core.times import NS_PER_US


@dataclass(frozen=True, slots=True)
class Mark:
    """A bound at one instant: of the authority's clock (Unix µs) and of CLOCK_BOOTTIME."""

    us: int
    ns: int

    def slow_us(self, now_ns: int, *, up: bool) -> int:
        """Return where a clock at 9/10 of CLOCK_BOOTTIME is that began here."""
        return self.us + _divide((now_ns - self.ns) * 9, 10 * NS_PER_US, up=up)

    def fast_us(self, now_ns: int, *, up: bool) -> int:
        """Return where a clock at 10/9 of CLOCK_BOOTTIME is that began here."""
        return self.us + _divide((now_ns - self.ns) * 10, 9 * NS_PER_US, up=up)

    def slow_ns(self, time_us: int, *, up: bool) -> int:
        """Return when the slow clock shows a time."""
        return self.ns + _divide((time_us - self.us) * NS_PER_US * 10, 9, up=up)

    def fast_ns(self, time_us: int, *, up: bool) -> int:
        """Return when the fast clock shows a time."""
        return self.ns + _divide((time_us - self.us) * NS_PER_US * 9, 10, up=up)


@dataclass(frozen=True, slots=True)
class AuthorityTime:
    """The last reply, as asked for (`sent`) and as it arrived, and where the bounds stood then.

    `sent` and `received` show the same time of the authority, which it read between the two.
    """

    sent: Mark
    received: Mark
    latest: Mark
    earliest: Mark

    @classmethod
    def learned(
        cls, authority_us: int, *, sent_ns: int, received_ns: int, before: "AuthorityTime | None"
    ) -> "AuthorityTime":
        """Return what is known after a reply.

        `authority_us` was read between two instants of CLOCK_BOOTTIME. `before` is what was known
        until now, or None.
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
        """Return by how much the latest time lies beyond what the last reply alone allows."""
        return self.latest_us(now_ns) - self.sent.fast_us(now_ns, up=True)

    def since_us(self, time_us: int, now_ns: int) -> int:
        """Return how long ago a time of the authority was, if both clocks go equally fast.

        It decides nothing: for measuring, where the safe side would be an error of its own.
        """
        return max(0, self.sent.us + (now_ns - self.sent.ns) // NS_PER_US - time_us)


def _divide(number: int, divisor: int, *, up: bool) -> int:
    return -(-number // divisor) if up else number // divisor
