"""`/v1/revocations`: revoke, suspend, narrow, kill and lift; list and read; wait."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.http import problems
from rescind_authority.http.dependencies import (
    IdempotencyKey,
    InjectedUseCases,
    LifterActor,
    Reader,
    RevokerActor,
    UseCases,
    bind_key,
)
from rescind_authority.http.revocations import receipts, requests
from rescind_authority.http.revocations.requests import (
    RESPONSE_OPTIONS,
    BatchRequest,
    LiftRequest,
    ReceiptQuery,
    RevocationQuery,
    RevokeRequest,
)
from rescind_authority.http.revocations.responses import (
    BatchFacts,
    RadiusFacts,
    RevocationFacts,
    RevocationPage,
    facts_of,
    outcome_of,
    radius_of,
)
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.ports.revocations import StoredRevocation
from rescind_authority.usecases.revocations.hit_counts import AFTER_A_WAIT_S
from rescind_authority.usecases.revocations.lift import LiftCommand

router = APIRouter(prefix="/v1/revocations", tags=["revocations"])

_NO_REVOCATION = problems.openapi_responses({404: "There is no such revocation."})


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Revoke",
    responses={
        200: {"model": RadiusFacts, "description": "A dry run: the tokens that would be hit."},
        202: {"model": RevocationFacts, "description": "Committed, and not enforced in time."},
        **problems.openapi_responses({409: "A wide selector hits many tokens: send a `preview`."}),
    },
    response_model=RevocationFacts | RadiusFacts,
)
async def revoke(
    body: RevokeRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> RevocationFacts | RadiusFacts:
    """Revoke, suspend or narrow every matching token in one event, or kill a subject.

    A revoke is final; a lift ends the others. The response is sent after the commit, and sidecars
    receive the event in milliseconds. With `wait`, the response is sent after enforcement and
    contains the receipt. 202 means committed, not yet enforced. With `dry_run`, nothing is changed;
    200 contains the reach of the command.
    """
    command = requests.to_command(body, awaited=body.wait)
    if body.dry_run:
        response.status_code = status.HTTP_200_OK
        return radius_of(await use_cases.revoker.preview(command, actor=actor))
    stored = await use_cases.revoker.revoke(
        command,
        actor=actor,
        idempotency=bind_key(
            "POST /v1/revocations", body, owner=actor.subject, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _answer(stored, body, use_cases, response)


@router.post("/batch", summary="Revoke many", responses={202: {"model": BatchFacts}})
async def batch(
    body: BatchRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> BatchFacts:
    """Carry out up to 1,000 commands, each with its own outcome.

    The refusal of one command does not affect the others: they share commits, but not a
    transaction. Each has the idempotency key `<key>#<its place>`, so that the whole call can be
    repeated. If a field of an item has a wrong type, the whole call is refused and nothing is
    changed.
    """
    operation = "POST /v1/revocations/batch"
    commands = [
        (
            requests.to_command(each, awaited=body.wait),
            bind_key(
                operation, each, owner=actor.subject, key=f"{key}#{place}", ignored=RESPONSE_OPTIONS
            ),
        )
        for place, each in enumerate(body.revocations)
    ]
    outcomes = await use_cases.revoker.revoke_each(commands, actor=actor)
    facts = BatchFacts(
        committed=sum(isinstance(each, StoredRevocation) for each in outcomes),
        refused=sum(not isinstance(each, StoredRevocation) for each in outcomes),
        outcomes=[outcome_of(each, key=f"{key}#{place}") for place, each in enumerate(outcomes)],
    )
    committed = [each.committed for each in outcomes if isinstance(each, StoredRevocation)]
    if not (body.wait and committed):
        return facts
    return await receipts.enforced(
        facts, max(committed, key=_position_of), use_cases, response, timeout_s=body.timeout
    )


@router.post(
    "/{revocation_id}/lift",
    status_code=status.HTTP_201_CREATED,
    summary="Lift",
    responses={
        202: {"model": RevocationFacts, "description": "Committed, and not enforced in time."},
        **_NO_REVOCATION,
        **problems.openapi_responses({409: "It has no suspension or narrowing to lift."}),
    },
)
async def lift(
    *,
    revocation_id: str,
    body: LiftRequest,
    actor: LifterActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    response: Response,
) -> RevocationFacts:
    """End a suspension or a narrowing, or the suspension of a kill.

    A revoke is final: 409. Other revocations that apply to a token still apply. The lift has its
    own id. With `wait`, the response is sent once no verifier uses the old state.
    """
    operation = f"POST /v1/revocations/{revocation_id}/lift"
    stored = await use_cases.lifter.lift(
        LiftCommand(revocation_id, body.reason, awaited=body.wait),
        actor=actor,
        idempotency=bind_key(
            operation, body, owner=actor.subject, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _answer(stored, body, use_cases, response)


@router.get("", summary="List revocations")
async def page(
    query: Annotated[RevocationQuery, Query()], _actor: Reader, use_cases: InjectedUseCases
) -> RevocationPage:
    """List revocations, newest first.

    With `standing`, list only those that a lift could end.
    """
    handles = query.parsed_handles()
    # One more than requested shows whether there is a next page.
    found = (
        await use_cases.inspector.standing_revocations(
            handles, before_seq=query.cursor, limit=query.limit + 1
        )
        if query.standing
        else await use_cases.inspector.revocations(before_seq=query.cursor, limit=query.limit + 1)
    )
    shown = found[: query.limit]
    return RevocationPage(
        revocations=[facts_of(each) for each in shown],
        next=str(shown[-1].event.seq) if len(found) > query.limit else None,
    )


@router.get("/{revocation_id}", summary="Look at a revocation", responses=_NO_REVOCATION)
async def look(revocation_id: str, _actor: Reader, use_cases: InjectedUseCases) -> RevocationFacts:
    """Return one revocation, with its receipt if a client waited for it."""
    stored = await use_cases.inspector.revocation(revocation_id)
    facts = await _add_hit_count(facts_of(stored), stored, use_cases)
    envelope = await use_cases.enforcer.receipts.get(facts.id)
    return facts if envelope is None else await receipts.with_receipt(facts, envelope, use_cases)


@router.get(
    "/{revocation_id}/receipt",
    summary="Wait for a receipt",
    responses={
        202: {"model": RevocationFacts, "description": "Not enforced in time."},
        **_NO_REVOCATION,
    },
)
async def receipt(
    revocation_id: str,
    _actor: Reader,
    use_cases: InjectedUseCases,
    response: Response,
    query: Annotated[ReceiptQuery, Query()],
) -> RevocationFacts:
    """Wait until a revocation is enforced, and return its receipt; 202 if the time runs out.

    Any authority can answer, also after the one that received the command has died. A receipt of
    many verifiers lists them page by page; its signed `content` is the same on each page.
    """
    stored = await use_cases.inspector.revocation(revocation_id)
    if query.cursor:
        envelope = await use_cases.enforcer.receipts.get(revocation_id)
        if envelope is None:
            raise InvalidRequestError(FieldError("cursor", "there is no receipt yet: wait first"))
        return await receipts.with_receipt(
            facts_of(stored), envelope, use_cases, cursor=query.cursor, limit=query.limit
        )
    facts = await receipts.enforced(
        facts_of(stored),
        stored.committed,
        use_cases,
        response,
        timeout_s=query.timeout,
        limit=query.limit,
    )
    return await _add_hit_count(facts, stored, use_cases)


async def _answer(
    stored: StoredRevocation,
    body: RevokeRequest | LiftRequest,
    use_cases: UseCases,
    response: Response,
) -> RevocationFacts:
    """Return the committed revocation, with the number of tokens that it hit.

    With `wait`, add the receipt, or the progress if the time runs out first.
    """
    facts = facts_of(stored)
    if body.wait:
        facts = await receipts.enforced(
            facts, stored.committed, use_cases, response, timeout_s=body.timeout
        )
    return await _add_hit_count(facts, stored, use_cases)


async def _add_hit_count(
    facts: RevocationFacts, stored: StoredRevocation, use_cases: UseCases
) -> RevocationFacts:
    """Add the number of hit tokens; the count runs during a wait."""
    deadline_s = AFTER_A_WAIT_S if facts.state == "enforced" else None
    hit = await use_cases.hit_counter.count(
        stored.event, killed=stored.killed, deadline_s=deadline_s
    )
    if hit is None:
        return facts
    counted = {"hit": hit.tokens, "hit_subjects": hit.subjects, "hit_exact": hit.exact}
    return facts.model_copy(update=counted)


def _position_of(committed: CommittedEvent) -> tuple[int, int]:
    return committed.epoch, committed.seq
