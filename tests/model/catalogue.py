"""Every model as the design wants it, and every rule switched off with the play that catches it."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from tests.model import (
    check,
    copies,
    ends,
    fill,
    fork,
    history,
    issue,
    lease,
    reach,
    restrictions,
    rotation,
    rows,
    term,
    work,
)
from tests.model.explorer import Model
from tests.model.lease import Play

PLAYS = {
    "plain": Play(),
    "a release": Play(release=True),
    "a restart": Play(restart=True),
    "a takeover": Play(takeover=True),
    "a restore": Play(restore=True),
    "a slow clock": Play(slow=1),
    "grace": Play(grace=1),
}
LONG_PLAYS = {
    "three heartbeats and a takeover": Play(beats=3, takeover=True),
    "a restart, a release and a takeover": Play(restart=True, release=True, takeover=True),
    "a restart on a slow clock": Play(restart=True, slow=1),
    "a release in grace, on a slow clock": Play(release=True, grace=1, slow=1),
}

_PLAY_OF = {
    lease.Broken.NO_MARGIN: Play(slow=1),
    lease.Broken.SAME_ID: Play(restart=True),
    lease.Broken.EARLY_RELEASE: Play(release=True),
    lease.Broken.LATE_REPLY: Play(release=True),
    lease.Broken.MEMORY: Play(takeover=True),
    lease.Broken.OLD_ROWS: Play(restore=True),
    lease.Broken.UNNAMED_GRACE: Play(grace=1),
}

_PLAIN: tuple[tuple[str, type[StrEnum], Callable[[Any], Model[Any]]], ...] = (
    ("work", work.Broken, work.Works),
    ("fork", fork.Broken, fork.Forks),
    ("reach", reach.Broken, reach.Reaches),
    ("ends", ends.Broken, ends.Ends),
    ("copies", copies.Broken, copies.Copies),
)
"""Models that take nothing but the rule that is off."""


def sound() -> Iterator[tuple[str, Model[Any]]]:
    """Return the models with every rule in force, small enough for each run of the tests."""
    for name, play in PLAYS.items():
        yield f"lease: {name}", lease.Leases(play)
    yield "check", check.Checks(most_checks=3)
    yield "fill", fill.Fills()
    yield "rows", rows.Rows()
    yield "term: longer", term.Terms(lengthen=True)
    yield "term: shorter", term.Terms(lengthen=False)
    yield "history", history.Histories()
    yield "issue: a child", issue.Issues(child=True)
    yield "issue: a login", issue.Issues(child=False)
    yield "restrictions", restrictions.Restrictions()
    yield "rotation", rotation.Rotations()
    for where, _, model in _PLAIN:
        yield where, model(None)


def sound_and_long() -> Iterator[tuple[str, Model[Any]]]:
    """Return larger models with every rule in force, for long runs."""
    for name, play in LONG_PLAYS.items():
        yield f"lease: {name}", lease.Leases(play)
    yield "check: five checks", check.Checks(most_checks=5)
    yield "fill: three records", fill.Fills(most_reads=3)
    yield "rows: three heartbeats", rows.Rows(most_beats=3)
    yield "copies: four heartbeats", copies.Copies(most_beats=4)
    yield "term: longer, three heartbeats", term.Terms(lengthen=True, most_beats=3)
    yield "term: shorter, three heartbeats", term.Terms(lengthen=False, most_beats=3)
    yield "history: five events", history.Histories(longest=5)


def broken() -> Iterator[tuple[StrEnum, str, Model[Any]]]:
    """Return each rule that can be switched off, with the model that has to detect it."""
    for of_lease in lease.Broken:
        play = _PLAY_OF.get(of_lease, Play())
        yield of_lease, "lease", lease.Leases(play._replace(broken=of_lease))
    for of_check in check.Broken:
        yield of_check, "check", check.Checks(of_check)
    for of_fill in fill.Broken:
        yield of_fill, "fill", fill.Fills(of_fill)
    for of_rows in rows.Broken:
        yield of_rows, "rows", rows.Rows(of_rows)
    for of_term in term.Broken:
        shorter = of_term is term.Broken.WAIT_AT_ONCE
        yield of_term, "term", term.Terms(of_term, lengthen=not shorter)
    for of_history in history.Broken:
        yield of_history, "history", history.Histories(of_history)
    for of_issue in issue.Broken:
        child = of_issue is not issue.Broken.OLD_SEQ
        yield of_issue, "issue", issue.Issues(of_issue, child=child)
    for of_restrictions in restrictions.Broken:
        yield of_restrictions, "restrictions", restrictions.Restrictions(of_restrictions)
    for of_rotation in rotation.Broken:
        yield of_rotation, "rotation", rotation.Rotations(of_rotation)
    yield from _broken_plain()


def _broken_plain() -> Iterator[tuple[StrEnum, str, Model[Any]]]:
    for where, rules, model in _PLAIN:
        for rule in rules:
            yield rule, where, model(rule)
