"""`/v1/revocations`: revoke, suspend, narrow, kill and lift; list, look, wait."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.handles import Handle, with_descendants
from rescind.errors import RescindError
from rescind_authority.errors import FieldError, InvalidRequestError
from rescind_authority.http import handles, problems, timestamps
from rescind_authority.http.dependencies import (
    Authority,
    IdempotencyKey,
    LifterActor,
    Reader,
    RevokerActor,
    UseCases,
    bind_key,
)
from rescind_authority.http.problems import Problem
from rescind_authority.http.revocations import receipts, requests
from rescind_authority.http.revocations.receipts import LONGEST_WAIT_S, MOST_VERIFIERS, Awaited
from rescind_authority.http.revocations.requests import (
    RESPONSE_OPTIONS,
    BatchRequest,
    LiftRequest,
    RevokeRequest,
)
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.ports.revocations import StoredRevocation
from rescind_authority.usecases.revocations.hit_counts import AFTER_A_WAIT_S
from rescind_authority.usecases.revocations.lift import LiftCommand
from rescind_authority.usecases.revocations.preview import Preview
from rescind_authority.usecases.revocations.revoke import Verb

router = APIRouter(prefix="/v1/revocations", tags=["revocations"])

_NO_REVOCATION = problems.openapi_responses({404: "There is no such revocation."})


class SweptFacts(BaseModel):
    """The progress of the sweep for a revoke. Verifiers apply the revoke long before."""

    tokens: int = Field(description="The tokens that this revocation, and no earlier one, ended.")
    done: bool = Field(description="Whether the count is complete.")


class RevocationFacts(Awaited):
    """A revocation and its position in the ledger."""

    id: str
    epoch: int
    seq: int
    effect: str = Field(description="`kill` for a kill that is read by its id.")
    selector: list[str]
    exact: bool
    scopes: list[str] = Field(description="The scopes that a `narrow` removes.")
    issued_before: datetime | None
    until: datetime | None = Field(description="The time at which it is lifted.")
    lifts: str | None = Field(description="For a lift: the id of the revocation that it ends.")
    lifted_at: datetime | None = Field(description="The time at which it was lifted.")
    reason: str
    actor: str
    committed_at: datetime
    hit: int | None = Field(
        default=None,
        description="The number of tokens that matched and were neither revoked nor expired, as of "
        "this event: exact up to 10,000. For a lift, the tokens that it released. Null in a "
        "list, and if it was not counted within two seconds.",
    )
    hit_subjects: int | None = Field(
        default=None, description="The number of their subjects; a lower bound unless `hit_exact`."
    )
    hit_exact: bool | None = Field(default=None, description="False: `hit` is an estimate.")
    swept: SweptFacts | None = Field(
        default=None, description="For a revoke that is read by its id: the ended tokens."
    )


class RevocationQuery(BaseModel):
    """The revocations to list, and the size of a page."""

    model_config = ConfigDict(extra="forbid")

    standing: bool = Field(
        default=False, description="Only suspensions and narrowings that were not lifted."
    )
    handle: list[str] = Field(
        default=[],
        description="With `standing`: only those that name one of these handles. As in commands, "
        "`subject:` finds its `chain:` too, and `token:` its `tree:`.",
    )
    cursor: int | None = Field(
        default=None, description="`next` of the previous page.", ge=1, lt=1 << 63
    )
    limit: int = Field(default=50, ge=1, le=200)

    def named(self) -> list[Handle]:
        """Parse the handles. Raises InvalidRequestError."""
        if self.handle and not self.standing:
            raise InvalidRequestError(FieldError("handle", "it goes with standing=true"))
        named = [handles.parse(text, field="handle") for text in self.handle]
        return list(dict.fromkeys([*named, *map(with_descendants, named)]))


class RevocationPage(BaseModel):
    """Revocations, newest first; `next` is the cursor of the next page, null at the end."""

    revocations: list[RevocationFacts]
    next: str | None


class ReceiptQuery(BaseModel):
    """The time to wait for a receipt, and the page of its verifiers."""

    model_config = ConfigDict(extra="forbid")

    timeout: float | None = Field(default=None, gt=0, le=LONGEST_WAIT_S)
    cursor: int | None = Field(
        default=None, description="`next` of the previous page.", ge=1, lt=1 << 63
    )
    limit: int = Field(default=MOST_VERIFIERS, ge=1, le=MOST_VERIFIERS)


class RadiusFacts(BaseModel):
    """The reach of a command among tokens that have not ended. Nothing was changed."""

    selector: list[str] = Field(
        description="The selector as it is applied, with `tree:` and `chain:`."
    )
    tokens: int
    exact: bool = Field(
        description="False: `tokens` is an estimate. The other counts cover the first 10,000, and "
        "are lower bounds."
    )
    subjects: int = Field(description="The number of different subjects of these tokens.")
    delegated: int = Field(description="The number of delegated tokens.")
    used: int = Field(description="The number of tokens that were used in the last day.")
    spared_credentials: int = Field(
        description="The number of sidecar credentials that match and are not hit. `*`, `kind:`, "
        "`tenant:`, `client:`, `issuer:` and `label:` spare them unless `kind:sidecar` is named."
    )
    services: list[str] = Field(description="The services that the tokens were used at.")
    preview: str = Field(description="The name of this preview; see `preview_needed`.")
    preview_needed: bool = Field(
        description="True: the command is refused without `preview`, because it hits many tokens "
        "of many holders."
    )


class BatchItemOutcome(BaseModel):
    """The outcome of one command of a batch: its position in the ledger, or a problem."""

    model_config = receipts.ALWAYS_THERE

    id: str | None = None
    epoch: int | None = None
    seq: int | None = None
    committed_at: datetime | None = None
    problem: Problem | None = None


class BatchFacts(Awaited):
    """The outcome of each command, in the order of the request.

    With `wait`, `state` and `receipt` describe the last event of all, and so hold for each.
    """

    committed: int
    refused: int
    outcomes: list[BatchItemOutcome]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Revoke",
    responses={
        200: {"model": RadiusFacts, "description": "A dry run: what would be hit."},
        202: {"model": RevocationFacts, "description": "Committed, and not enforced in time."},
        **problems.openapi_responses({409: "It hits many, and was not looked at first."}),
    },
    response_model=RevocationFacts | RadiusFacts,
)
async def revoke(
    body: RevokeRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    authority: Authority,
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
        return _radius(await authority.revoker.preview(command, actor=actor))
    stored = await authority.revoker.revoke(
        command,
        actor=actor,
        idempotency=bind_key(
            "POST /v1/revocations", body, owner=actor.subject, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _answer(stored, body, authority, response)


@router.post("/batch", summary="Revoke many", responses={202: {"model": BatchFacts}})
async def batch(
    body: BatchRequest,
    actor: RevokerActor,
    key: IdempotencyKey,
    authority: Authority,
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
    outcomes = await authority.revoker.revoke_each(commands, actor=actor)
    facts = BatchFacts(
        committed=sum(isinstance(each, StoredRevocation) for each in outcomes),
        refused=sum(not isinstance(each, StoredRevocation) for each in outcomes),
        outcomes=[_outcome(each, key=f"{key}#{place}") for place, each in enumerate(outcomes)],
    )
    committed = [each.committed for each in outcomes if isinstance(each, StoredRevocation)]
    if not (body.wait and committed):
        return facts
    return await receipts.enforced(
        facts, max(committed, key=_place), authority, response, timeout_s=body.timeout
    )


@router.post(
    "/{revocation_id}/lift",
    status_code=status.HTTP_201_CREATED,
    summary="Lift",
    responses={
        202: {"model": RevocationFacts, "description": "Committed, and not enforced in time."},
        **_NO_REVOCATION,
        **problems.openapi_responses({409: "There is nothing in it that a lift could end."}),
    },
)
async def lift(
    *,
    revocation_id: str,
    body: LiftRequest,
    actor: LifterActor,
    key: IdempotencyKey,
    authority: Authority,
    response: Response,
) -> RevocationFacts:
    """End a suspension or a narrowing, or the suspension of a kill.

    A revoke is final: 409. Other revocations that apply to a token still apply. The lift has its
    own id. With `wait`, the response is sent once no verifier uses the old state.
    """
    operation = f"POST /v1/revocations/{revocation_id}/lift"
    stored = await authority.lifter.lift(
        LiftCommand(revocation_id, body.reason, awaited=body.wait),
        actor=actor,
        idempotency=bind_key(
            operation, body, owner=actor.subject, key=key, ignored=RESPONSE_OPTIONS
        ),
    )
    return await _answer(stored, body, authority, response)


@router.get("", summary="List revocations")
async def page(
    query: Annotated[RevocationQuery, Query()], _actor: Reader, authority: Authority
) -> RevocationPage:
    """List revocations, newest first.

    With `standing`, list only those that a lift could end.
    """
    named = query.named()
    # One more than requested shows whether there is a next page.
    found = (
        await authority.inspector.active_revocations(
            named, before_seq=query.cursor, limit=query.limit + 1
        )
        if query.standing
        else await authority.inspector.revocations(before_seq=query.cursor, limit=query.limit + 1)
    )
    shown = found[: query.limit]
    return RevocationPage(
        revocations=[_facts(each) for each in shown],
        next=str(shown[-1].event.seq) if len(found) > query.limit else None,
    )


@router.get("/{revocation_id}", summary="Look at a revocation", responses=_NO_REVOCATION)
async def look(revocation_id: str, _actor: Reader, authority: Authority) -> RevocationFacts:
    """Return one revocation, with its receipt if a client waited for it."""
    stored = await authority.inspector.revocation(revocation_id)
    facts = await _counted(_facts(stored), stored, authority)
    envelope = await authority.enforcer.receipts.get(facts.id)
    return facts if envelope is None else await receipts.with_receipt(facts, envelope, authority)


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
    authority: Authority,
    response: Response,
    query: Annotated[ReceiptQuery, Query()],
) -> RevocationFacts:
    """Wait until a revocation is enforced, and return its receipt; 202 if the time runs out.

    Any authority can answer, also after the one that received the command has died. A receipt of
    many verifiers lists them page by page; its signed `content` is the same on each page.
    """
    stored = await authority.inspector.revocation(revocation_id)
    if query.cursor:
        envelope = await authority.enforcer.receipts.get(revocation_id)
        if envelope is None:
            raise InvalidRequestError(FieldError("cursor", "there is no receipt yet: wait first"))
        return await receipts.with_receipt(
            _facts(stored), envelope, authority, cursor=query.cursor, limit=query.limit
        )
    facts = await receipts.enforced(
        _facts(stored),
        stored.committed,
        authority,
        response,
        timeout_s=query.timeout,
        limit=query.limit,
    )
    return await _counted(facts, stored, authority)


async def _answer(
    stored: StoredRevocation,
    body: RevokeRequest | LiftRequest,
    authority: UseCases,
    response: Response,
) -> RevocationFacts:
    """Return the committed revocation, with the number of tokens that it hit.

    With `wait`, add the receipt, or the progress if the time runs out first.
    """
    facts = _facts(stored)
    if body.wait:
        facts = await receipts.enforced(
            facts, stored.committed, authority, response, timeout_s=body.timeout
        )
    return await _counted(facts, stored, authority)


async def _counted(
    facts: RevocationFacts, stored: StoredRevocation, authority: UseCases
) -> RevocationFacts:
    """Add the number of hit tokens; the count runs during a wait."""
    deadline_s = AFTER_A_WAIT_S if facts.state == "enforced" else None
    hit = await authority.hit_counter.count(
        stored.event, killed=stored.killed, deadline_s=deadline_s
    )
    if hit is None:
        return facts
    counted = {"hit": hit.tokens, "hit_subjects": hit.subjects, "hit_exact": hit.exact}
    return facts.model_copy(update=counted)


def _place(committed: CommittedEvent) -> tuple[int, int]:
    return committed.epoch, committed.seq


def _outcome(outcome: StoredRevocation | RescindError, *, key: str) -> BatchItemOutcome:
    if isinstance(outcome, RescindError):
        return BatchItemOutcome(problem=problems.problem(outcome, key=key))
    committed = outcome.committed
    return BatchItemOutcome(
        id=committed.revocation_id,
        epoch=committed.epoch,
        seq=committed.seq,
        committed_at=timestamps.from_us(committed.at_us),
    )


def _radius(preview: Preview) -> RadiusFacts:
    radius = preview.radius
    return RadiusFacts(
        selector=list(preview.selector.handles),
        tokens=radius.tokens,
        exact=radius.exact,
        subjects=radius.subjects,
        delegated=radius.delegated,
        used=radius.used,
        spared_credentials=radius.spared_credentials,
        services=list(radius.services),
        preview=preview.name,
        preview_needed=preview.needed,
    )


def _facts(stored: StoredRevocation) -> RevocationFacts:
    event, revocation = stored.event, stored.event.revocation
    return RevocationFacts(
        id=revocation.revocation_id,
        epoch=event.epoch,
        seq=event.seq,
        effect=Verb.KILL if stored.killed else revocation.effect,
        selector=list(revocation.selector.handles),
        exact=stored.exact,
        scopes=list(revocation.scopes),
        issued_before=timestamps.maybe_from_us(revocation.issued_before_us),
        until=timestamps.maybe_from_us(revocation.until_us),
        lifts=revocation.lifts,
        lifted_at=timestamps.maybe_from_us(stored.lifted_at_us),
        reason=revocation.reason,
        actor=revocation.actor,
        committed_at=timestamps.from_us(event.at_us),
        swept=None
        if stored.swept is None
        else SweptFacts(tokens=stored.swept.tokens, done=stored.swept.done),
    )
