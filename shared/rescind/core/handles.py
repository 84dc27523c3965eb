"""Handles, by which a revocation hits a record, and selectors, which are sets of handles.

A handle is a text, at most 256 bytes in NFC. It splits at its first `:`, a label at its first
`=`, a foreign subject and a `jwt:` at their last `#`. `*` is the handle that every record has.
No handle contains a token: handles are stored, shown and logged.
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
"""The handle of every credential, besides the handle of its kind."""

MAX_BYTES = 256
MAX_HANDLES = 8

# From the most selective to the least: the anchor of a selector is the first of these in it.
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
# Handles that many tokens share. A selector of these alone may hit more than intended.
_WIDE = frozenset({"label", "client", "tenant", "issuer", "created_by", "kind", "*"})
# A newer authority may use unknown handles. They count as wider than the known narrow handles, and
# as narrower than a whole kind. Any handle of a selector is a correct anchor.
_UNKNOWN_RANK = _RANK["kind"]
# A revocation hits the descendants too, unless it is `exact`.
_WITH_DESCENDANTS = {"token": "tree", "subject": "chain"}


def parse(text: str) -> Handle:
    """Parse one handle. Raises SelectorError, whose text shows a valid one."""
    handle = Handle(unicodedata.normalize("NFC", text))
    if token_format.contained(handle):
        # Never quote the text: a token that was pasted here must not reach a log.
        raise SelectorError("that is a token, not a handle: name it by its id, or give it on stdin")
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
            f"{handle!r} is not a handle: expected one of {kinds} or *"
            f"{_suggest(handle, kind, colon)}"
        )
    if not value:
        raise SelectorError(f"{handle!r} names nothing: expected {kind}:<value>")
    if kind == "label" and value.find("=") < 1:
        raise SelectorError(f"{handle!r} is not a label: expected label:<key>=<value>")
    if kind == "jwt" and not all(value.rpartition("#")):
        raise SelectorError(f"{handle!r} is not a foreign token: expected jwt:<iss>#<jti>")
    return handle


def _suggest(handle: str, kind: str, colon: str) -> str:
    """Return a hint at the intended handle; a text without a kind may be a subject."""
    import difflib  # noqa: PLC0415 - only an invalid handle pays for it

    if not colon:
        return f"; did you mean subject:{handle}?" if handle.isprintable() and handle else ""
    matches = difflib.get_close_matches(kind.lower(), _KINDS[:-1], n=1)
    if matches:
        return f"; did you mean {matches[0]}:{handle[len(kind) + 1 :]}?"
    subjects = {"agent", "service", "user", "admin"}
    return f"; did you mean subject:{handle}?" if kind in subjects else ""


def alike(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of labels that read like an earlier key.

    Two keys are alike if they differ only in case, or in characters that Unicode calls compatible.
    The KELVIN SIGN and the letter K are one character in NFC, so one of two such labels would be
    lost.
    """
    folded_keys: set[str] = set()
    duplicates: list[str] = []
    for key in keys:
        folded = _fold(key)
        if folded in folded_keys:
            duplicates.append(key)
        folded_keys.add(folded)
    return tuple(duplicates)


def kind_of(handle: Handle) -> str:
    """Return the part before the first colon."""
    return handle.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Selector:
    """One to eight handles, sorted. A selector matches a record that has all of them."""

    handles: tuple[Handle, ...]

    @property
    def anchor(self) -> Handle:
        """Return the most selective handle: it indexes the event, and selects a slot."""
        handles = self.handles
        return handles[0] if len(handles) == 1 else min(handles, key=_rank_handle)

    @property
    def wide(self) -> bool:
        """Return True if it may hit many: it names no token, tree, subject, chain or session."""
        return all(kind_of(handle) in _WIDE for handle in self.handles)

    def matches(self, handles: Collection[Handle]) -> bool:
        """Return True if a record with these handles matches."""
        return all(handle in handles for handle in self.handles)

    def __str__(self) -> str:
        return " AND ".join(self.handles)


def select(texts: Iterable[str], *, exact: bool = False) -> Selector:
    """Parse handles into a selector.

    Unless `exact`, `token:` includes the token's descendants (`tree:`), and `subject:` includes
    every token that was delegated from that subject (`chain:`). Raises SelectorError.
    """
    handles = {parse(text) for text in texts}
    if not exact:
        handles = {with_descendants(handle) for handle in handles}
    if not 1 <= len(handles) <= MAX_HANDLES:
        raise SelectorError(f"a selector has 1 to {MAX_HANDLES} handles, this one {len(handles)}")
    return Selector(tuple(sorted(handles)))


def _fold(key: str) -> str:
    """Return a form that is equal for keys that are alike (Unicode 3.13, D146)."""
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", key).casefold()).casefold()
    return unicodedata.normalize("NFKC", once)


def _rank_handle(handle: Handle) -> tuple[int, Handle]:
    return _RANK.get(kind_of(handle), _UNKNOWN_RANK), handle


def with_descendants(handle: Handle) -> Handle:
    """Return a handle that includes descendants: `tree:` for `token:`, `chain:` for `subject:`."""
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
    """Return the handles of a new token, sorted.

    `inherited` are the handles from its parent. `created_by` is the administrator who issues the
    token. `credential` is True for a token with which sidecars enrol. Raises SelectorError for a
    value that is not valid in a handle.
    """
    optional = (
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
        *(f"{name}:{value}" for name, value in optional if value is not None),
        *map(_make_label_handle, labels),
    }
    if credential:
        texts.add(SIDECARS)
    return tuple(sorted({parse(text) for text in texts} | set(inherited)))


def _make_label_handle(label: tuple[str, str]) -> str:
    key, value = label
    # The first `=` ends the key: with another in the key, two labels could be one handle.
    if "=" in key:
        raise SelectorError(f"a label's key has no `=`: {key[:40]!r} has")
    return f"label:{key}={value}"
