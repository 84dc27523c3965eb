"""Rotate and expire: a token gets a new secret, or an earlier end."""

from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from rescind.errors import RescindError
from rescind_authority.http import problems, timestamps
from rescind_authority.http.dependencies import (
    IdempotencyKey,
    InjectedUseCases,
    IssuerActor,
    RevokerActor,
    Rotator,
    UseCases,
    bind_key,
)
from rescind_authority.http.problems import Problem
from rescind_authority.http.revocations import receipts
from rescind_authority.http.revocations.receipts import Awaited
from rescind_authority.http.revocations.requests import (
    MAX_AT_ONCE,
    RESPONSE_OPTIONS,
    CommandReason,
    WaitOptions,
)
from rescind_authority.http.tokens.requests import OnReuse
from rescind_authority.usecases.access.change_budgets import Cost
from rescind_authority.usecases.tokens.rotate_and_expire import (
    CommittedChange,
    ExpireCommand,
    RotateCommand,
)

router = APIRouter(tags=["tokens"])


class RotateRequest(CommandReason, WaitOptions):
    """The options of a rotation."""

    overlap: float = Field(
        default=0,
        description="Seconds for which the old secret stays valid; then an event ends it. At most "
        "one hour for an admin token, and at most `max_overlap` for a token's holder.",
    )
    on_reuse: OnReuse | None = Field(
        default=None,
        description="The effect if the old secret is presented more than 30 seconds after its end. "
        "`revoke` ends the token and its descendants, because a second party holds the secret. "
        "`deny` only denies that call. Left out: the value chosen at issue. The holder may choose "
        "`deny` only if the token was issued with it.",
    )


class ExpireRequest(CommandReason, WaitOptions):
    """The time at which a token ends, if it would have ended later."""

    at: timestamps.Moment | None = Field(
        default=None,
        description="RFC 3339, or Unix seconds. Left out: now. An event ends it at a later time.",
    )


class ExpireManyRequest(CommandReason):
    """The tokens to end, and the time."""

    token_ids: Annotated[list[str], Field(min_length=1, max_length=MAX_AT_ONCE)]
    at: timestamps.Moment | None = Field(default=None, description="Left out: now.")


class ChangeFacts(Awaited):
    """A committed change and its position in the ledger.

    Verifiers drop their record of the token.
    """

    token_id: str
    id: str = Field(description="Its receipt is at `/v1/revocations/{id}/receipt`.")
    epoch: int
    seq: int
    committed_at: datetime


class RotationFacts(ChangeFacts):
    """A token with a new secret.

    With `receipt` and no overlap, every verifier denies the old secret, regardless of clocks. With
    an overlap, every verifier has the end of the old secret; a separate event ends it at that time.
    """

    token: str | None = Field(
        description="The new secret, which is shown only once. Null if the key is repeated."
    )


_Facts = TypeVar("_Facts", bound=ChangeFacts)


def _refusals(facts: type[ChangeFacts]) -> dict[int | str, dict[str, Any]]:
    return {
        202: {"model": facts, "description": "Committed, and not enforced in time."},
        **problems.openapi_responses(
            {
                404: "There is no such token.",
                409: "It is revoked or suspended, has ended, or was changed meanwhile.",
            }
        ),
    }


class ChangeOutcome(BaseModel):
    """The outcome for one token: its change, or a problem."""

    model_config = receipts.ALWAYS_THERE

    token_id: str
    seq: int | None = None
    problem: Problem | None = None


class ChangesFacts(BaseModel):
    """The outcome for each token, in the order of the request."""

    changed: int
    refused: int
    outcomes: list[ChangeOutcome]


@router.post(
    "/v1/tokens/{token_id}/rotate",
    summary="Rotate a token's secret",
    responses=_refusals(RotationFacts),
)
async def rotate(
    *,
    token_id: str,
    body: RotateRequest,
    actor: IssuerActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> RotationFacts:
    """Create a new secret under the same grant; the old one ends, or is valid for `overlap`.

    The caller needs the scopes that issuing such a token needs; for an admin token, also all of its
    scopes.

    The token keeps its id, its end and the tokens delegated from it. After a leak, revoke it
    instead: a thief may have delegated.
    """
    operation = f"POST /v1/tokens/{token_id}/rotate"
    changed = await use_cases.changer.rotate(
        _to_command(token_id, body),
        actor=actor,
        idempotency=bind_key(
            operation, body, owner=actor.subject, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _rotation_response(changed, body, use_cases, response)


@router.post(
    "/v1/rotations",
    summary="Rotate the bearer's own secret",
    responses={
        **_refusals(RotationFacts),
        **problems.openapi_responses(
            {
                403: "The token's holder may not do that.",
                429: "Too many changes by this token; `Retry-After` says when to try again.",
            }
        ),
    },
)
async def rotate_own(
    body: RotateRequest,
    holder: Rotator,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> RotationFacts:
    """Create a new secret for the token that authorises this call.

    Of two such calls, one is refused.
    """
    token_id = holder.record.token_id
    use_cases.budgets.take(holder.record, Cost.EVENT)
    changed = await use_cases.changer.rotate_own(
        _to_command(token_id, body),
        bearer=holder,
        idempotency=bind_key(
            "POST /v1/rotations", body, owner=token_id, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _rotation_response(changed, body, use_cases, response)


@router.post(
    "/v1/tokens/{token_id}/expire", summary="End a token early", responses=_refusals(ChangeFacts)
)
async def expire(
    *,
    token_id: str,
    body: ExpireRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> ChangeFacts:
    """End a token and its descendants, now or at `at`.

    With `receipt`, every verifier denies a token that ends now, regardless of clocks.
    """
    operation = f"POST /v1/tokens/{token_id}/expire"
    changed = await use_cases.changer.expire(
        ExpireCommand(token_id, timestamps.maybe_to_us(body.at), body.reason, awaited=body.wait),
        actor=actor,
        idempotency=bind_key(
            operation, body, owner=actor.subject, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _await_enforcement(
        ChangeFacts(**_facts_of(changed)), changed, body, use_cases, response
    )


@router.post("/v1/tokens/expire", summary="End many tokens early")
async def expire_many(
    body: ExpireManyRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
) -> ChangesFacts:
    """End up to 1,000 tokens, each with its own outcome and the key `<key>#<its place>`."""
    at_us = timestamps.maybe_to_us(body.at)
    outcomes = await use_cases.changer.expire_each(
        [
            (
                ExpireCommand(token_id, at_us, body.reason),
                bind_key("POST /v1/tokens/expire", body, owner=actor.subject, key=f"{key}#{place}"),
            )
            for place, token_id in enumerate(body.token_ids)
        ],
        actor=actor,
    )
    return ChangesFacts(
        changed=sum(isinstance(each, CommittedChange) for each in outcomes),
        refused=sum(not isinstance(each, CommittedChange) for each in outcomes),
        outcomes=[
            _outcome_of(token_id, outcome)
            for token_id, outcome in zip(body.token_ids, outcomes, strict=True)
        ],
    )


def _to_command(token_id: str, body: RotateRequest) -> RotateCommand:
    return RotateCommand(
        token_id=token_id,
        overlap_s=body.overlap,
        reuse_revokes=None if body.on_reuse is None else body.on_reuse is OnReuse.REVOKE,
        reason=body.reason,
        awaited=body.wait,
    )


async def _rotation_response(
    changed: CommittedChange, body: RotateRequest, use_cases: UseCases, response: Response
) -> RotationFacts:
    response.headers["Cache-Control"] = "no-store"
    secret = None if changed.secret is None else changed.secret.reveal()
    facts = RotationFacts(**_facts_of(changed), token=secret)
    return await _await_enforcement(facts, changed, body, use_cases, response)


async def _await_enforcement(
    facts: _Facts,
    changed: CommittedChange,
    body: WaitOptions,
    use_cases: UseCases,
    response: Response,
) -> _Facts:
    if not body.wait:
        return facts
    return await receipts.enforced(
        facts, changed.committed, use_cases, response, timeout_s=body.timeout
    )


def _facts_of(changed: CommittedChange) -> dict[str, Any]:
    committed = changed.committed
    return {
        "token_id": changed.token_id,
        "id": committed.revocation_id,
        "epoch": committed.epoch,
        "seq": committed.seq,
        "committed_at": timestamps.from_us(committed.at_us),
    }


def _outcome_of(token_id: str, outcome: CommittedChange | RescindError) -> ChangeOutcome:
    if isinstance(outcome, RescindError):
        return ChangeOutcome(token_id=token_id, problem=problems.problem(outcome))
    return ChangeOutcome(token_id=token_id, seq=outcome.committed.seq)
