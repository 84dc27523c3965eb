"""The authority's clock as a sidecar knows it: an interval, from when a reply left and arrived.

The local wall clock is never asked. Every answer is rounded to the side that denies.
"""

from dataclasses import dataclass

_NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class AuthorityTime:
    """Postgres said `authority_us` (Unix) between `sent_ns` and `received_ns` (CLOCK_BOOTTIME)."""

    sent_ns: int
    received_ns: int
    authority_us: int

    def earliest_us(self, now_ns: int) -> int:
        """Give a time that the authority's clock has certainly reached."""
        return self.authority_us + (now_ns - self.received_ns) // _NS_PER_US

    def latest_us(self, now_ns: int) -> int:
        """Give a time that the authority's clock has certainly not passed."""
        return self.authority_us - (self.sent_ns - now_ns) // _NS_PER_US

    def before_ns(self, time_us: int) -> int:
        """Give the local instant until which `time_us` has certainly not come."""
        return self.sent_ns + (time_us - self.authority_us) * _NS_PER_US

    def after_ns(self, time_us: int) -> int:
        """Give the local instant from which `time_us` has certainly come."""
        return self.received_ns + (time_us - self.authority_us) * _NS_PER_US
