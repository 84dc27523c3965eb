"""Handles, by which a record can be hit, and selectors, which are sets of them.

A handle is a text, at most 256 bytes in NFC. It splits at its first `:`, a label at its first
`=`, a foreign subject and a `jwt:` at their last `#`. `*` is the handle that every record has.
No handle holds a token: handles are stored, shown and logged.
"""

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NewType

from rescind.core import token_format
from rescind.errors import SelectorError

Handle = NewType("Handle", str)

EVERYTHING = Handle("*")
SIDECARS = Handle("kind:sidecar")
"""What the credentials of sidecars have, beside the handle of their kind."""

MAX_BYTES = 256
MAX_HANDLES = 8

# From the most selective to the least: the first one that a selector has is its anchor.
_KINDS = (
    "token",
    "jwt",
    "tree",
    "session",
    "subject",
    "chain",
    "label",
    "client",
    "tenant",
    "issuer",
    "created_by",
    "kind",
    "*",
)
_RANK = {kind: rank for rank, kind in enumerate(_KINDS)}
# Handles of many holders. What names nothing else may hit more than was meant.
_WIDE = frozenset({"label", "client", "tenant", "issuer", "created_by", "kind", "*"})
# A newer authority may name handles that we do not know: they are wider than what we know to be
# narrow, and narrower than a whole kind. Any handle of a selector is right as its anchor.
_UNKNOWN_RANK = _RANK["kind"]
# What was delegated dies with what delegated it, unless `exact` is asked for.
_WITH_DESCENDANTS = {"token": "tree", "subject": "chain"}


def parse(text: str) -> Handle:
    """Read one handle. Raises SelectorError, which says what a good one looks like."""
    handle = Handle(unicodedata.normalize("NFC", text))
    if token_format.contained(handle):
        # Never quoted: whoever pastes a token here must not find it in a log.
        raise SelectorError("that is a token, no handle: name it by its id, or give it on stdin")
    if len(handle.encode(errors="surrogatepass")) > MAX_BYTES:
        raise SelectorError(f"a handle has at most {MAX_BYTES} bytes: {handle[:40]!r}… is longer")
    if not handle.isprintable():
        raise SelectorError(f"a handle is printable text: {handle!r} is not")
    if handle == EVERYTHING:
        return handle
    kind, colon, value = handle.partition(":")
    if not colon or kind == EVERYTHING or kind not in _RANK:
        kinds = ", ".join(f"{known}:…" for known in _KINDS[:-1])
        raise SelectorError(
            f"{handle!r} is no handle: expected one of {kinds} or *{_near(handle, kind, colon)}"
        )
    if not value:
        raise SelectorError(f"{handle!r} names nothing: expected {kind}:<value>")
    if kind == "label" and value.find("=") < 1:
        raise SelectorError(f"{handle!r} is no label: expected label:<key>=<value>")
    if kind == "jwt" and not all(value.rpartition("#")):
        raise SelectorError(f"{handle!r} is no foreign token: expected jwt:<iss>#<jti>")
    return handle


def _near(handle: str, kind: str, colon: str) -> str:
    """Return which handle may have been meant; one without its kind may be a subject."""
    import difflib  # noqa: PLC0415 - only what was written wrongly pays for it

    if not colon:
        return f"; did you mean subject:{handle}?" if handle.isprintable() and handle else ""
    found = difflib.get_close_matches(kind.lower(), _KINDS[:-1], n=1)
    if found:
        return f"; did you mean {found[0]}:{handle[len(kind) + 1 :]}?"
    subjects = {"agent", "service", "user", "admin"}
    return f"; did you mean subject:{handle}?" if kind in subjects else ""


def alike(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of labels that read like an earlier one of them.

    Two are alike if they differ in case, or in characters that Unicode calls compatible. The
    KELVIN SIGN and the letter K are one character in NFC, so that one of two labels would be lost.
    """
    seen: set[str] = set()
    found: list[str] = []
    for key in keys:
        folded = _folded(key)
        if folded in seen:
            found.append(key)
        seen.add(folded)
    return tuple(found)


def kind_of(handle: Handle) -> str:
    """Return the part before the first colon."""
    return handle.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Selector:
    """One to eight handles, sorted; it matches a record that has all of them."""

    handles: tuple[Handle, ...]

    @property
    def anchor(self) -> Handle:
        """The most selective handle: by it an event is indexed, and a slot of the table bumped."""
        handles = self.handles
        return handles[0] if len(handles) == 1 else min(handles, key=_selectiveness)

    @property
    def wide(self) -> bool:
        """Whether it names no token, tree, subject, chain or session, so that it may hit many."""
        return all(kind_of(handle) in _WIDE for handle in self.handles)

    def matches(self, handles: Collection[Handle]) -> bool:
        """Return True if a record with these handles matches."""
        return all(handle in handles for handle in self.handles)

    def __str__(self) -> str:
        return " AND ".join(self.handles)


def select(texts: Iterable[str], *, exact: bool = False) -> Selector:
    """Make a selector from what a person wrote.

    Unless `exact`, `token:` takes its descendants along (`tree:`) and `subject:` everything that
    was delegated from that subject (`chain:`). Raises SelectorError.
    """
    handles = {parse(text) for text in texts}
    if not exact:
        handles = {with_descendants(handle) for handle in handles}
    if not 1 <= len(handles) <= MAX_HANDLES:
        raise SelectorError(f"a selector has 1 to {MAX_HANDLES} handles, this one {len(handles)}")
    return Selector(tuple(sorted(handles)))


def _folded(key: str) -> str:
    """Return what keys that are alike have in common (Unicode 3.13, D146)."""
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", key).casefold()).casefold()
    return unicodedata.normalize("NFKC", once)


def _selectiveness(handle: Handle) -> tuple[int, Handle]:
    return _RANK.get(kind_of(handle), _UNKNOWN_RANK), handle


def with_descendants(handle: Handle) -> Handle:
    """Return a handle as commands mean it: `tree:` for `token:`, and `chain:` for `subject:`."""
    kind, colon, value = handle.partition(":")
    return Handle(_WITH_DESCENDANTS.get(kind, kind) + colon + value)


def of_token(
    *,
    token_id: str,
    kind: str,
    subject: str,
    tenant: str | None,
    client: str | None,
    session: str | None,
    labels: Iterable[tuple[str, str]],
    inherited: Iterable[Handle] = (),
    created_by: str | None = None,
    credential: bool = False,
) -> tuple[Handle, ...]:
    """List the handles of a new token, sorted; `inherited` are those its parent hands down.

    `created_by` is the administrator who issues it; a `credential` is what sidecars enrol with.
    Raises SelectorError for a fact that makes no handle.
    """
    labels = tuple(labels)
    for key, _ in labels:
        # The first `=` ends the key: with one inside, two different labels would be one handle.
        if "=" in key:
            raise SelectorError(f"a label's key has no `=`: {key[:40]!r} has")
    named = (
        ("tenant", tenant),
        ("client", client),
        ("session", session),
        ("created_by", created_by),
    )
    texts = {
        EVERYTHING,
        f"token:{token_id}",
        f"tree:{token_id}",
        f"subject:{subject}",
        f"chain:{subject}",
        f"kind:{kind}",
        *(f"{name}:{value}" for name, value in named if value is not None),
        *(f"label:{key}={value}" for key, value in labels),
    }
    if credential:
        texts.add(SIDECARS)
    return tuple(sorted({parse(text) for text in texts} | set(inherited)))
