"""One name, one concept: public classes that share a name are few, and each has its reason."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED_NAMES = {
    "ChildGrant": "the requested grant of a child, in the core and in the admin client",
    "Clock": "the request for a clock, whose name test vectors pin, and the clock of this machine",
    "Issued": "the public answer of the admin client, and that of the fake in its place",
    "RevocationPage": "one answer of the HTTP API, as the authority writes and the client reads it",
    "RescindMiddleware": "the same middleware, for applications of ASGI and of WSGI",
    "Row": "a line of a table: of Postgres, and of the benchmark's report",
    "TokenPage": "one answer of the HTTP API, as the authority writes and the client reads it",
    "WaitOptions": "a part of requests, as the client writes and the authority reads it",
}
MOST = 15
FORMER_NAMES = {
    "ActiveRevocation", "AppliedRevocation", "Belongings", "Care", "Deed", "Dice", "Elsewhere",
    "Enforceable", "Held", "HeldError", "HoldFacts", "Holding", "Horizon", "How", "Lister",
    "LiveCertificate", "LiveEdgeKeys", "LiveKeyring", "LiveTrustStore", "Manner", "Mint",
    "NotNow", "Notary", "Portion", "Previews", "Renewal", "Resolve", "Resolved", "Seal", "Seldom",
    "SeldomEach", "SpokenLink", "SystemDice", "Taken", "TrustNotary", "Unknowns", "Verified",
    "Voice", "Wanted",
}  # fmt: skip


def classes() -> Iterator[tuple[str, Path]]:
    """Return the name and the file of every public class."""
    for folder in ("services", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, path.relative_to(ROOT)


def test_class_names_that_are_defined_twice_are_few_and_have_reasons() -> None:
    places = defaultdict(list)
    for name, path in classes():
        places[name].append(path)
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert twice.keys() == SHARED_NAMES.keys(), twice
    assert len(twice) < MOST


def test_no_class_has_a_name_that_a_term_of_the_glossary_replaced() -> None:
    assert FORMER_NAMES.isdisjoint(name for name, _ in classes())
