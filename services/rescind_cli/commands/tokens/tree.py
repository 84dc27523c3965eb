"""`rescind tree`: a delegation tree, with the state of each token."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rescind.core.secret import Secret
from rescind_cli.options.authority_options import CommandTarget, with_target
from rescind_cli.options.param_types import ID, token_from_stdin_or_environment
from rescind_cli.output import terminal

if TYPE_CHECKING:  # httpx2 is imported when a call is made, not when help is asked for
    from rescind.client.admin import Admin, TokenTree, TreeNode

_STDIN = "-"
_MAX_ROOTS = 20
_MAX_SCOPES = 6


@click.command()
@click.argument("of", type=ID, metavar="TOKEN_ID|SUBJECT|-")
@click.option(
    "--depth",
    type=click.IntRange(0, 16),
    default=3,
    show_default=True,
    help="How many levels of descendants to show.",
)
@click.option(
    "--children",
    type=click.IntRange(1, 200),
    default=20,
    show_default=True,
    help="How many children of each token to show.",
)
@with_target
def tree(*, target: CommandTarget, of: str, depth: int, children: int) -> None:
    """Show a delegation tree and the state of each token.

    Shows the tree of one token, of the latest 20 tokens of a subject or, for `-`, of the token on
    stdin (or in RESCIND_TOKEN).
    """
    with target.admin() as admin:
        found = [
            admin.tree(token_id, depth=depth, children=children)
            for token_id in _find_roots(admin, of)
        ]
    if target.as_json:
        terminal.as_json({"trees": found})
        return
    if not found:
        click.echo(f"There is no token of {of}.", err=True)
    for each in found:
        _show(each)


def _find_roots(admin: "Admin", of: str) -> list[str]:
    if of == _STDIN:
        return [str(admin.presented(Secret(token_from_stdin_or_environment()))["token_id"])]
    if ":" in of:
        found = itertools.islice(admin.tokens(subject=of), _MAX_ROOTS)
        return [str(each["token_id"]) for each in found]
    return [of]


def _show(found: "TokenTree") -> None:
    above = " > ".join(str(each["subject"]) for each in found["ancestors"])
    if above:
        terminal.line("delegated by", above)
    for state, text in _draw_lines(found["nodes"]):
        terminal.branch(state, text)
    size = f"{found['size']:,}" if found["exact"] else f"more than {found['size']:,}"
    terminal.line("descendants", f"{size} tokens" if found["size"] != 1 else "1 token")


def _draw_lines(nodes: Sequence["TreeNode"]) -> Iterator[tuple[str, str]]:
    """Yield the state and the drawn line of each node, before its children."""
    children: dict[str | None, list[TreeNode]] = {}
    for node in nodes[1:]:
        children.setdefault(node["parent"], []).append(node)

    def draw(node: "TreeNode", *, before: str, below: str) -> Iterator[tuple[str, str]]:
        yield node["state"], before + _describe_node(node)
        of_it = children.get(node["token_id"], [])
        hidden = node["next"] is not None
        for place, child in enumerate(of_it):
            last = place == len(of_it) - 1 and not hidden
            yield from draw(
                child,
                before=below + ("└─ " if last else "├─ "),
                below=below + ("   " if last else "│  "),
            )
        if hidden:
            yield "", f"{below}└─ … more; rescind tree {node['token_id']} --children 200"

    yield from draw(nodes[0], before="", below="")


def _describe_node(node: "TreeNode") -> str:
    scopes = " ".join(node["scopes"][:_MAX_SCOPES])
    more = len(node["scopes"]) - _MAX_SCOPES
    removed = " ".join(f"-{scope}" for each in node["holds"] for scope in each["scopes"])
    words = [
        str(node["subject"]),
        str(node["state"]),
        str(node["token_id"]),
        scopes + (f" +{more}" if more > 0 else ""),
        removed,
    ]
    return "  ".join(word for word in words if word)
