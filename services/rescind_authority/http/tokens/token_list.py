"""`/v1/tokens` and `/v1/tokens/count`: the list and the count of tokens."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.token_format import Kind
from rescind_authority.http import handles, timestamps
from rescind_authority.http.dependencies import InjectedUseCases, Reader
from rescind_authority.http.tokens.responses import ListedToken, listed
from rescind_authority.ports.token_search import TokenFilter
from rescind_authority.usecases.read_model.inspector import State
from rescind_authority.usecases.read_model.token_search import EXACT_UP_TO

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_ID_SHAPE = "^tok_[0-9a-z]{26}$"


class TokenFilterQuery(BaseModel):
    """The filters of a list or a count; a token must match every one."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = Field(default=None, description="Exactly this subject.")
    chain: str | None = Field(
        default=None, description="This subject, or a subject delegated from it."
    )
    tree: str | None = Field(
        default=None, description="This token id, or a token delegated from it.", pattern=_ID_SHAPE
    )
    kind: Kind | None = None
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    created_by: str | None = Field(
        default=None, description="Issued by this administrator, or delegated from such a token."
    )
    label: list[str] = Field(default=[], description="`key=value`; several must all match.")
    state: State | None = None
    issued_after: timestamps.Moment | None = Field(
        default=None, description="Issued at this time or later."
    )
    issued_before: timestamps.Moment | None = None

    def to_filter(self) -> TokenFilter:
        """Return the filter. Raises InvalidRequestError."""
        names = (
            *("subject", "chain", "tree", "kind", "tenant", "client", "session"),
            "created_by",
        )
        fields = ((name, getattr(self, name)) for name in names)
        texts = [f"{name}:{text}" for name, text in fields if text is not None]
        texts += [f"label:{text}" for text in self.label]
        return TokenFilter(
            handles=tuple(handles.parse(text, field=text.partition(":")[0]) for text in texts),
            state=self.state,
            issued_after_us=timestamps.maybe_to_us(self.issued_after),
            issued_before_us=timestamps.maybe_to_us(self.issued_before),
        )


class TokenQuery(TokenFilterQuery):
    """The tokens to list, and the size of a page."""

    cursor: str | None = Field(
        default=None, description="`next` of the previous page.", pattern=_ID_SHAPE
    )
    limit: int = Field(default=50, ge=1, le=200)


class TokenPage(BaseModel):
    """Tokens, newest first; `next` is the cursor of the next page, null at the end.

    A short or empty page is the last one only if `next` is null.
    """

    tokens: list[ListedToken]
    next: str | None


class TokenCount(BaseModel):
    """The number of matching tokens."""

    count: int
    exact: bool = Field(
        description=f"False for an estimate: above {EXACT_UP_TO:,}, or if an exact count would "
        "take too long."
    )


@router.get("", summary="List tokens")
async def page(
    query: Annotated[TokenQuery, Query()], _actor: Reader, use_cases: InjectedUseCases
) -> TokenPage:
    """List the tokens that match every filter, newest first."""
    shown, following = await use_cases.inspector.tokens(
        query.to_filter(), before=query.cursor, limit=query.limit
    )
    return TokenPage(tokens=[ListedToken(**listed(each)) for each in shown], next=following)


@router.get("/count", summary="Count tokens")
async def count(
    query: Annotated[TokenFilterQuery, Query()], _actor: Reader, use_cases: InjectedUseCases
) -> TokenCount:
    """Count the tokens that match every filter; `exact` is false for an estimate."""
    counted = await use_cases.inspector.count(query.to_filter())
    return TokenCount(count=counted.tokens, exact=counted.exact)
