"""Response bodies of revocations, and their conversion from what use cases return."""

from datetime import datetime

from pydantic import BaseModel, Field

from rescind.errors import RescindError
from rescind_authority.http import problems, timestamps
from rescind_authority.http.problems import Problem
from rescind_authority.http.revocations import receipts
from rescind_authority.http.revocations.receipts import Awaited
from rescind_authority.ports.revocations import StoredRevocation
from rescind_authority.usecases.revocations.preview import Preview
from rescind_authority.usecases.revocations.revoke import Verb


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
    scopes: list[str] = Field(description="The scopes that a narrowing removes.")
    issued_before: datetime | None
    until: datetime | None = Field(
        description="The time at which the suspension or narrowing is lifted."
    )
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


class RevocationPage(BaseModel):
    """Revocations, newest first; `next` is the cursor of the next page, null at the end."""

    revocations: list[RevocationFacts]
    next: str | None


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


def outcome_of(outcome: StoredRevocation | RescindError, *, key: str) -> BatchItemOutcome:
    """Return the outcome of one command of a batch; `key` is its idempotency key."""
    if isinstance(outcome, RescindError):
        return BatchItemOutcome(problem=problems.problem(outcome, key=key))
    committed = outcome.committed
    return BatchItemOutcome(
        id=committed.revocation_id,
        epoch=committed.epoch,
        seq=committed.seq,
        committed_at=timestamps.from_us(committed.at_us),
    )


def radius_of(preview: Preview) -> RadiusFacts:
    """Return the result of a dry run."""
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


def facts_of(stored: StoredRevocation) -> RevocationFacts:
    """Return a revocation as a response body."""
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
