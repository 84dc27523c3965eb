"""What people send to have power taken away or given back, and what they mean by it."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.http import timestamps
from rescind_authority.http.revocations.receipts import LONGEST_WAIT_S
from rescind_authority.usecases.revocations.revoke import RevokeCommand, Verb

MOST_AT_ONCE = 1_000

HOW = frozenset({"wait", "timeout", "preview"})
"""Fields that say how to answer, and not what to do: a repeat under one key may differ in them."""


class Why(BaseModel):
    """Why something is done."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", description="Why; it stands in the ledger and in the audit.")


class WaitOptions(BaseModel):
    """Whether to answer when it is enforced, or at once."""

    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(
        default=False,
        description="Answer when it is enforced: when no verifier goes by the old state any more.",
    )
    timeout: Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)] | None = Field(
        default=None,
        description="With `wait`: answer 202 after so many seconds if it is not enforced yet. By "
        "default as long as it may take: one lease term and a little.",
    )


class LiftRequest(Why, WaitOptions):
    """Why a suspension or a narrowing ends."""


class BatchItem(Why):
    """Which tokens a command is for: those that a selector matches, or one by its secret."""

    selector: list[str] = Field(
        default=[],
        description="One to eight handles, all of which must match. `token:` takes what was "
        "delegated from it along, and `subject:` its chain, unless `exact`.",
        examples=[["subject:agent:billing-bot"]],
    )
    token: str | None = Field(
        default=None, description="A token's secret, in place of a selector.", max_length=1024
    )
    exact: bool = False
    effect: Verb = Field(
        default=Verb.REVOKE,
        description="`revoke` is final and spares what is issued later; `suspend` hits that too, "
        "until it is lifted; `narrow` takes `scopes` away; `kill` revokes and suspends the chain "
        "of one subject.",
    )
    scopes: list[str] = Field(
        default=[], description="Scopes, or patterns of them, that a `narrow` takes away."
    )
    issued_before: timestamps.Moment | None = Field(
        default=None, description="Spare what was issued at or after: RFC 3339, or Unix seconds."
    )
    until: timestamps.Moment | None = Field(
        default=None, description="When it is to be lifted by itself: RFC 3339, or Unix seconds."
    )
    preview: str | None = Field(
        default=None,
        description="The `preview` that a dry run of this gave: a selector of many holders that "
        "hits many tokens needs it.",
        max_length=128,
    )


class RevokeRequest(BatchItem, WaitOptions):
    """One command, and how to answer it."""

    dry_run: bool = Field(
        default=False, description="Answer 200 with what would be hit, and change nothing."
    )


class BatchRequest(WaitOptions):
    """Many commands at once; `wait` is for the last of them, and so for all."""

    revocations: Annotated[list[BatchItem], Field(min_length=1, max_length=MOST_AT_ONCE)]


def wish(asked: BatchItem, *, awaited: bool) -> RevokeCommand:
    """Read a request. Raises InvalidRequestError."""
    return RevokeCommand(
        verb=asked.effect,
        selector=asked.selector,
        token=asked.token,
        exact=asked.exact,
        issued_before_us=_unix_us("issued_before", asked.issued_before),
        until_us=_unix_us("until", asked.until),
        scopes=asked.scopes,
        reason=asked.reason,
        awaited=awaited,
        preview=asked.preview,
    )


def _unix_us(field: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    unix_us = timestamps.to_us(moment)
    if unix_us < 0:
        raise InvalidRequestError(FieldError(field, "expected a time after 1970"))
    return unix_us
