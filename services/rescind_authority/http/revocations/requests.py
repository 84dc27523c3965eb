"""Request bodies and queries of revocations and lifts, and their conversion to commands."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rescind.core.handles import Handle, with_descendants
from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.http import handles, timestamps
from rescind_authority.http.revocations.receipts import MAX_VERIFIERS, MAX_WAIT_S
from rescind_authority.usecases.revocations.revoke import RevokeCommand, Verb

MAX_AT_ONCE = 1_000

RESPONSE_OPTIONS = frozenset({"wait", "timeout", "preview"})
"""Fields that affect the response, not the command: a repeat under one key may differ in them."""


class CommandReason(BaseModel):
    """The reason for a command."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", description="The reason, for the ledger and the audit.")


class WaitOptions(BaseModel):
    """Whether the response is sent after enforcement, or at once."""

    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(
        default=False,
        description="Answer after the revocation is enforced: no verifier accepts the old state "
        "any more.",
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_WAIT_S)] | None = Field(
        default=None,
        description="With `wait`: answer 202 after this number of seconds if the revocation is not "
        "enforced yet. The default is the longest that enforcement takes: a little over one "
        "lease term.",
    )


class LiftRequest(CommandReason, WaitOptions):
    """The reason for the end of a suspension or a narrowing."""


class BatchItem(CommandReason):
    """A command for the tokens that a selector matches, or for one token by its secret."""

    selector: list[str] = Field(
        default=[],
        description="One to eight handles, all of which must match. Unless `exact`, `token:` "
        "includes all tokens delegated from it, and `subject:` its chain.",
        examples=[["subject:agent:billing-bot"]],
    )
    token: str | None = Field(
        default=None, description="The secret of a token, in place of a selector.", max_length=1024
    )
    exact: bool = False
    effect: Verb = Field(
        default=Verb.REVOKE,
        description="`revoke` is final, and does not hit tokens issued later. `suspend` also hits "
        "tokens issued later, until it is lifted. `narrow` removes `scopes`, until it is lifted. "
        "`kill` revokes and suspends the chain of one subject.",
    )
    scopes: list[str] = Field(
        default=[], description="The scopes or patterns that a narrowing removes."
    )
    issued_before: timestamps.Moment | None = Field(
        default=None,
        description="Do not hit tokens issued at or after this time: RFC 3339, or Unix seconds.",
    )
    until: timestamps.Moment | None = Field(
        default=None,
        description="The time at which the suspension or narrowing is lifted: RFC 3339, or Unix "
        "seconds.",
    )
    preview: str | None = Field(
        default=None,
        description="The `preview` of a dry run of this command. It is required if the selector "
        "is wide and hits many tokens.",
        max_length=128,
    )


class RevokeRequest(BatchItem, WaitOptions):
    """One command, and how to answer it."""

    dry_run: bool = Field(
        default=False,
        description="Answer 200 with the tokens that would be hit, and change nothing.",
    )


class BatchRequest(WaitOptions):
    """Many commands in one request. `wait` applies to the last of them, and so to all."""

    revocations: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_AT_ONCE)]


class RevocationQuery(BaseModel):
    """The revocations to list, and the size of a page."""

    model_config = ConfigDict(extra="forbid")

    standing: bool = Field(
        default=False, description="Only suspensions and narrowings that were not lifted."
    )
    handle: list[str] = Field(
        default=[],
        description="With `standing=true`: only those that name one of these handles. As in "
        "commands, `subject:` also finds its `chain:`, and `token:` its `tree:`.",
    )
    cursor: int | None = Field(
        default=None, description="`next` of the previous page.", ge=1, lt=1 << 63
    )
    limit: int = Field(default=50, ge=1, le=200)

    def parsed_handles(self) -> list[Handle]:
        """Parse the handles. Raises InvalidRequestError."""
        if self.handle and not self.standing:
            raise InvalidRequestError(FieldError("handle", "requires standing=true"))
        parsed_handles = [handles.parse(text, field="handle") for text in self.handle]
        return list(dict.fromkeys([*parsed_handles, *map(with_descendants, parsed_handles)]))


class ReceiptQuery(BaseModel):
    """The time to wait for a receipt, and the page of its verifiers."""

    model_config = ConfigDict(extra="forbid")

    timeout: float | None = Field(default=None, gt=0, le=MAX_WAIT_S)
    cursor: int | None = Field(
        default=None, description="`next` of the previous page.", ge=1, lt=1 << 63
    )
    limit: int = Field(default=MAX_VERIFIERS, ge=1, le=MAX_VERIFIERS)


def to_command(item: BatchItem, *, awaited: bool) -> RevokeCommand:
    """Convert a request to a command. Raises InvalidRequestError."""
    return RevokeCommand(
        verb=item.effect,
        selector=item.selector,
        token=item.token,
        exact=item.exact,
        issued_before_us=_unix_us("issued_before", item.issued_before),
        until_us=_unix_us("until", item.until),
        scopes=item.scopes,
        reason=item.reason,
        awaited=awaited,
        preview=item.preview,
    )


def _unix_us(field: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    unix_us = timestamps.to_us(moment)
    if unix_us < 0:
        raise InvalidRequestError(FieldError(field, "expected a time after 1970"))
    return unix_us
