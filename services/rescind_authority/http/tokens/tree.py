"""`/v1/tokens/{id}/tree` and `/children`: who delegated what to whom."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from rescind_authority.http import problems
from rescind_authority.http.dependencies import Authority, Reader
from rescind_authority.http.tokens.tokens import ListedToken, listed
from rescind_authority.usecases.read_model.delegation_tree import (
    COUNTED_UP_TO,
    MOST_CHILDREN,
    MOST_DEPTH,
    Node,
)

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_NO_TOKEN = problems.told({404: "There is no such token."})


class NodeFacts(ListedToken):
    """A token at its place in a tree."""

    parent: str | None = Field(description="Who delegated it.")
    depth: int = Field(description="How many generations lie above it, up to the root of all.")
    next: str | None = Field(
        description="Set if it has more children than are shown: the `cursor` of the next ones at "
        "`/children`; empty for the first ones."
    )


class TreeQuery(BaseModel):
    """How much of a tree to show."""

    model_config = ConfigDict(extra="forbid")

    depth: int = Field(default=3, ge=0, le=MOST_DEPTH, description="Generations below the token.")
    children: int = Field(default=20, ge=1, le=MOST_CHILDREN, description="Of each, at most.")


class TreeFacts(BaseModel):
    """A part of a tree: every parent before its children, at most 1,000 nodes in all."""

    ancestors: list[ListedToken] = Field(description="From the root of all down to the parent.")
    nodes: list[NodeFacts]
    size: int = Field(description="How many tokens hang below this one.")
    exact: bool = Field(description=f"False where there are more than {COUNTED_UP_TO:,}.")


class ChildrenQuery(BaseModel):
    """Which children to list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(
        default=None, description="`next` of the page before.", pattern="^(tok_[0-9a-z]{26})?$"
    )
    limit: int = Field(default=50, ge=1, le=MOST_CHILDREN)


class ChildrenPage(BaseModel):
    """Children of one token, oldest first; `next` is the cursor of the next page."""

    nodes: list[NodeFacts]
    next: str | None


@router.get(
    "/{token_id}/tree", summary="Look at what was delegated from a token", responses=_NO_TOKEN
)
async def below(
    token_id: str, wanted: Annotated[TreeQuery, Query()], _actor: Reader, authority: Authority
) -> TreeFacts:
    """Return a token, those above it, and some generations below it."""
    tree = await authority.trees.below(token_id, depth=wanted.depth, children=wanted.children)
    return TreeFacts(
        ancestors=[ListedToken(**listed(each)) for each in tree.ancestors],
        nodes=[_node(node) for node in tree.nodes],
        size=tree.size,
        exact=tree.exact,
    )


@router.get(
    "/{token_id}/children",
    summary="List what was delegated from a token directly",
    responses=_NO_TOKEN,
)
async def children(
    token_id: str, wanted: Annotated[ChildrenQuery, Query()], _actor: Reader, authority: Authority
) -> ChildrenPage:
    """List the children of a token, page by page."""
    nodes, following = await authority.trees.children(
        token_id, after=wanted.cursor or None, limit=wanted.limit
    )
    return ChildrenPage(nodes=[_node(node) for node in nodes], next=following)


def _node(node: Node) -> NodeFacts:
    lineage = node.seen.token.grant.lineage
    return NodeFacts(
        **listed(node.seen),
        parent=lineage[-1] if lineage else None,
        depth=node.depth,
        next=node.next,
    )
