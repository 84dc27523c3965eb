"""`/v1/tokens/{id}/tree` and `/children`: the delegations from a token."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from rescind_authority.http import problems
from rescind_authority.http.dependencies import InjectedUseCases, Reader
from rescind_authority.http.tokens.responses import ListedToken, listed
from rescind_authority.usecases.read_model.delegation_tree import (
    COUNTED_UP_TO,
    MAX_CHILDREN,
    MAX_DEPTH,
    Node,
)

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_NO_TOKEN = problems.openapi_responses({404: "There is no such token."})


class NodeFacts(ListedToken):
    """A token and its place in a tree."""

    parent: str | None = Field(description="The id of its parent.")
    depth: int = Field(description="The number of its ancestors.")
    next: str | None = Field(
        description="Set if it has more children than are shown: the `cursor` of the next page at "
        "`/children`; empty for the first page."
    )


class TreeQuery(BaseModel):
    """The part of a tree to show."""

    model_config = ConfigDict(extra="forbid")

    depth: int = Field(
        default=3, ge=0, le=MAX_DEPTH, description="Levels of descendants to return."
    )
    children: int = Field(
        default=20,
        ge=1,
        le=MAX_CHILDREN,
        description="The largest number of children of each token.",
    )


class TreeFacts(BaseModel):
    """A part of a tree: every parent before its children, at most 1,000 nodes in all."""

    ancestors: list[ListedToken] = Field(
        description="The ancestors, from the root down to the parent."
    )
    nodes: list[NodeFacts]
    size: int = Field(description="The number of tokens below this one.")
    exact: bool = Field(description=f"False if there are more than {COUNTED_UP_TO:,}.")


class ChildrenQuery(BaseModel):
    """The children to list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(
        default=None, description="`next` of the previous page.", pattern="^(tok_[0-9a-z]{26})?$"
    )
    limit: int = Field(default=50, ge=1, le=MAX_CHILDREN)


class ChildrenPage(BaseModel):
    """Children of one token, oldest first; `next` is the cursor of the next page."""

    nodes: list[NodeFacts]
    next: str | None


@router.get("/{token_id}/tree", summary="Read the delegation tree of a token", responses=_NO_TOKEN)
async def below(
    token_id: str, query: Annotated[TreeQuery, Query()], _actor: Reader, use_cases: InjectedUseCases
) -> TreeFacts:
    """Return a token, its ancestors, and some levels of its descendants."""
    tree = await use_cases.trees.below(token_id, depth=query.depth, children=query.children)
    return TreeFacts(
        ancestors=[ListedToken(**listed(each)) for each in tree.ancestors],
        nodes=[_node_of(node) for node in tree.nodes],
        size=tree.size,
        exact=tree.exact,
    )


@router.get(
    "/{token_id}/children",
    summary="List the children of a token",
    responses=_NO_TOKEN,
)
async def children(
    token_id: str,
    query: Annotated[ChildrenQuery, Query()],
    _actor: Reader,
    use_cases: InjectedUseCases,
) -> ChildrenPage:
    """List the children of a token, page by page."""
    nodes, following = await use_cases.trees.children(
        token_id, after=query.cursor or None, limit=query.limit
    )
    return ChildrenPage(nodes=[_node_of(node) for node in nodes], next=following)


def _node_of(node: Node) -> NodeFacts:
    lineage = node.seen.token.grant.lineage
    return NodeFacts(
        **listed(node.seen),
        parent=lineage[-1] if lineage else None,
        depth=node.depth,
        next=node.next,
    )
