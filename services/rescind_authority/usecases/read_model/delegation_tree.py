"""Read the delegation tree, with the state of each token.

The tree shows which token delegated to which. A tree may have a hundred thousand nodes, so no
caller receives all of it at once. A caller receives a few levels, a few children of each node,
and the cursor to the next ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind.core.handles import Handle
from rescind_authority.ports.token_search import Tokens
from rescind_authority.usecases.read_model.inspector import Inspector, SeenToken

MAX_NODES = 1_000
MAX_DEPTH = 16
MAX_CHILDREN = 200
COUNTED_UP_TO = 10_000


@dataclass(frozen=True, slots=True)
class Node:
    """One token of a tree.

    `next` is the cursor to its other children: the id of the last child that is shown, or an empty
    string if none is shown. It is None if all are shown.
    """

    seen: SeenToken
    depth: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Tree:
    """A part of a tree, parents before their children.

    `size` is the number of tokens below the root, exact up to a bound. `exact` is False above it.
    """

    ancestors: tuple[SeenToken, ...]
    nodes: tuple[Node, ...]
    size: int
    exact: bool


class Trees:
    """Read trees, and change nothing."""

    def __init__(self, inspector: Inspector, tokens: Tokens) -> None:
        self._inspector = inspector
        self._tokens = tokens

    async def below(self, token_id: str, *, depth: int, children: int) -> Tree:
        """Read a token, its ancestors, and the tokens delegated from it.

        Raises NotFoundError.
        """
        root = await self._inspector.token(token_id)
        counted = await self._tokens.count([Handle(f"tree:{token_id}")], most=COUNTED_UP_TO + 2)
        return Tree(
            ancestors=await self._inspector.tokens_by_id(root.token.grant.lineage),
            nodes=await self._nodes(root, depth=depth, children=children),
            size=min(counted - 1, COUNTED_UP_TO),
            exact=counted <= COUNTED_UP_TO + 1,
        )

    async def children(
        self, token_id: str, *, after: str | None, limit: int
    ) -> tuple[tuple[Node, ...], str | None]:
        """Return the children of a token, oldest first, and the cursor to the next ones."""
        parent = await self._inspector.token(token_id)
        found = (await self._tokens.children([token_id], after=after, most=limit + 1)).get(
            token_id, ()
        )
        seen = await self._inspector.tokens_by_id(found[:limit])
        more = await self._tokens.children([each.token.grant.token_id for each in seen], most=1)
        depth = len(parent.token.grant.lineage) + 1
        nodes = tuple(
            Node(each, depth, "" if each.token.grant.token_id in more else None) for each in seen
        )
        return nodes, found[limit - 1] if len(found) > limit else None

    async def _nodes(self, root: SeenToken, *, depth: int, children: int) -> tuple[Node, ...]:
        """Read level by level, with one query for each, until enough is shown."""
        shown: dict[str, tuple[str, ...]] = {}
        rest: dict[str, str] = {}
        level_ids: Sequence[str] = [root.token.grant.token_id]
        left = MAX_NODES - 1
        for level in range(depth + 1):
            found = await self._tokens.children(
                level_ids, most=children + 1 if level < depth else 1
            )
            following: list[str] = []
            for parent in level_ids:
                its_children = found.get(parent, ())
                shown_children = its_children[: min(children, left)] if level < depth else ()
                left -= len(shown_children)
                shown[parent] = shown_children
                following += shown_children
                if len(its_children) > len(shown_children):
                    rest[parent] = shown_children[-1] if shown_children else ""
            level_ids = following
            if not level_ids:
                break
        seen = {root.token.grant.token_id: root}
        below = [child for shown_children in shown.values() for child in shown_children]
        seen.update(
            (each.token.grant.token_id, each) for each in await self._inspector.tokens_by_id(below)
        )
        return tuple(_order_nodes(root.token.grant.token_id, shown=shown, rest=rest, seen=seen))


def _order_nodes(
    token_id: str,
    *,
    shown: Mapping[str, tuple[str, ...]],
    rest: Mapping[str, str],
    seen: Mapping[str, SeenToken],
) -> list[Node]:
    """Return the nodes, every parent before its children, and each child before the next."""
    each = seen.get(token_id)
    if each is None:
        return []
    nodes = [Node(each, len(each.token.grant.lineage), rest.get(token_id))]
    for child in shown.get(token_id, ()):
        nodes += _order_nodes(child, shown=shown, rest=rest, seen=seen)
    return nodes
