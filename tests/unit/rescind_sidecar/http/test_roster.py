"""Of too many connections the idlest goes, of its own peer where that one has too many."""

from dataclasses import dataclass

import pytest

from rescind_sidecar.http.roster import Roster, peer_of


@dataclass(eq=False)
class Line:
    name: str
    idle: bool = True
    gone: bool = False

    def make_room(self) -> None:
        self.gone = True


def admitted(roster: Roster, names: str, peer: bytes = b"p") -> list[Line]:
    lines = [Line(name) for name in names]
    assert all(roster.admit(line, peer) for line in lines)
    return lines


def left(roster: Roster) -> str:
    return "".join(sorted(str(each.name) for each in roster if isinstance(each, Line)))


def test_connections_never_answered_are_closed_first_and_then_the_least_recently_answered() -> None:
    roster = Roster(most=4, most_of_a_peer=4)
    a, b, c, _ = admitted(roster, "abcd")
    for line in (b, a, c, b):
        roster.answered(line)
    for name, rest in (("e", "abce"), ("f", "abcf")):
        admitted(roster, name)
        assert left(roster) == rest
    for member in list(roster):
        roster.answered(member)  # in the order in which they are to go: f, a, c, b
    roster.answered(a)
    admitted(roster, "g")
    assert (left(roster), a.gone, b.gone) == ("abcg", False, False)


def test_a_connection_that_waits_for_an_answer_is_never_closed() -> None:
    roster = Roster(most=2, most_of_a_peer=2)
    busy, idle = admitted(roster, "ab")
    busy.idle = False
    admitted(roster, "c")
    assert (busy.gone, idle.gone) == (False, True)
    for each in roster:
        assert isinstance(each, Line)
        each.idle = False
    assert not roster.admit(Line("d"), b"p")
    assert left(roster) == "ac"


def test_many_waiting_connections_hide_idle_ones_only_briefly() -> None:
    roster = Roster(most=301, most_of_a_peer=301)
    for line in admitted(roster, "w" * 300):
        line.idle = False
    (idle,) = admitted(roster, "i")
    looks = 0
    while not roster.admit(Line("n"), b"p"):
        looks += 1
    assert (idle.gone, looks) == (True, 300 // 64)


def test_a_peer_with_too_many_connections_loses_only_its_own() -> None:
    roster = Roster(most=10, most_of_a_peer=3)
    others = admitted(roster, "xyz", b"other")
    mine = admitted(roster, "abcdef", b"mine")
    assert left(roster) == "defxyz"
    assert [line.gone for line in (*others, *mine)] == [False] * 3 + [True] * 3 + [False] * 3


def test_a_closed_connection_is_forgotten_with_its_peer() -> None:
    roster = Roster(most=10, most_of_a_peer=3)
    (line,) = admitted(roster, "a")
    roster.answered(line)
    roster.discard(line)
    roster.discard(line)
    roster.answered(line)
    assert (len(roster), roster._peers) == (0, {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 2), True),
        (("192.0.2.1", 1), ("192.0.2.2", 1), False),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::ffff:2", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 1), True),
        (("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:192.0.2.2", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), ("fe80::2%eth0", 1, 0, 2), True),
        ("", b"", True),
        (None, "", True),
    ],
)
def test_a_peer_is_an_address_or_a_network(one: object, other: object, same: bool) -> None:
    assert (peer_of(one) == peer_of(other)) is same
