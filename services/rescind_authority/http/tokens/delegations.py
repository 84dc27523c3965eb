"""`/v1/delegations`: the bearer of a token delegates a part of its permissions."""

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.delegation import Right
from rescind.core.token_format import Kind
from rescind_authority.http import problems
from rescind_authority.http.dependencies import IdempotencyKey, InjectedUseCases, Parent, bind_key
from rescind_authority.http.tokens.responses import IssuedToken
from rescind_authority.http.tokens.tokens import issued
from rescind_authority.usecases.access.change_budgets import Cost
from rescind_authority.usecases.tokens.delegate import DelegateCommand

router = APIRouter(prefix="/v1/delegations", tags=["tokens"])


class DelegationRequest(BaseModel):
    """The grant of the child token, which never exceeds that of its parent."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(
        description="The subject: `<the parent's subject>/<name>`, or a subject that the "
        "parent's `may_speak_for` allows.",
        examples=["agent:orchestrator/search-1"],
    )
    kind: Kind = Field(
        default=Kind.AGENT,
        description="`agent`, or the parent's kind. A session delegates only to agents.",
    )
    scopes: list[str] = Field(default=[], description="Scopes that the parent's scopes cover.")
    audience: list[str] = Field(
        default=[], description="Services of the parent's audience. Empty: the parent's audience."
    )
    ttl: float | None = Field(
        default=None,
        description="Lifetime in seconds, at most the rest of the parent's. Left out: one hour, or "
        "the rest of the parent's lifetime if that is shorter.",
    )
    labels: dict[str, str] = Field(default={}, description="Added to the parent's.")
    addresses: list[str] = Field(
        default=[],
        description="Networks (CIDR) within the parent's. Empty: the parent's.",
    )
    verifier: dict[str, str] = Field(
        default={}, description="Labels that a verifier must have, besides the parent's."
    )
    may_speak_for: list[str] = Field(
        default=[], description="Patterns of subjects to delegate to, covered by the parent's."
    )
    max_depth: int | None = Field(
        default=None, description="How many levels of descendants it may have. 0: none."
    )
    self_service: list[Right] | None = Field(
        default=None,
        description="The rights of the child's holder at the authority, among the parent's. Left "
        "out: the default, or none if the parent's rights were chosen at issue.",
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Delegate a part of the bearer's permissions",
    responses={
        200: {"model": IssuedToken, "description": "A repeat: delegated before, no secret."},
        **problems.openapi_responses(
            {
                401: "The parent token is not accepted.",
                403: "More than the parent has; `errors` names the fields.",
                409: "A standing suspension hits the child.",
                429: "Too many changes by this token; `Retry-After` states when to try again.",
            }
        ),
    },
)
async def delegate(
    body: DelegationRequest,
    response: Response,
    parent: Parent,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
) -> IssuedToken:
    """Issue a child of the token that authorises this call. Only this response shows its secret.

    The child inherits its parent's handles, labels and audience, and ends with any of its
    ancestors. It never exceeds its parent in scopes, audience, lifetime or depth.
    """
    command = DelegateCommand(
        subject=body.subject,
        kind=body.kind,
        scopes=body.scopes,
        audience=body.audience,
        ttl_s=body.ttl,
        labels=body.labels,
        may_speak_for=body.may_speak_for,
        max_depth=body.max_depth,
        addresses=body.addresses,
        verifier=body.verifier,
        self_service=body.self_service,
    )
    use_cases.budgets.take(parent, Cost.DELEGATION)
    # A key belongs to the parent token: no other holder can use it, whatever its subject.
    idempotency = bind_key("POST /v1/delegations", body, owner=parent.token_id, key=key)
    outcome = await use_cases.delegator.delegate(
        command, parent_hash=parent.token_hash, idempotency=idempotency
    )
    return await issued(outcome, response, use_cases)
