"""`/oauth/introspect` (RFC 7662) and `/oauth/revoke` (RFC 7009)."""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from rescind.core import token_format
from rescind.wire import receipts, signed_envelope
from rescind_authority.http.dependencies import IdempotencyKey, InjectedUseCases, bind_key
from rescind_authority.http.oauth.requests import (
    ERRORS,
    ClientScheme,
    OAuthForm,
    OAuthRequest,
    authenticate,
    form_body,
    require_known,
)
from rescind_authority.http.oauth_errors import NO_STORE, OAuthError
from rescind_authority.http.revocations.receipts import MAX_WAIT_S
from rescind_authority.usecases.enforcement.wait import EnforcementProgress
from rescind_runtime.oauth import introspection

router = APIRouter(tags=["oauth"])

_DEFAULT_WAIT_S = 30
_HINT = "Ignored: one look-up finds tokens of each type."
_INTROSPECTED = {
    "token": "The token to introspect.",
    "token_type_hint": _HINT,
    "address": "The address of the token's bearer, for a token that is bound to networks.",
}
_REVOKED = {
    "token": "The token to revoke, with all that was delegated from it.",
    "token_type_hint": _HINT,
    "wait": "`true`: answer after every verifier denies the token.",
    "timeout": f"The longest wait, in seconds, at least 1; {_DEFAULT_WAIT_S} if left out.",
}


class _RevocationBody(BaseModel):
    """The part of a request that counts for its idempotency key."""

    token_hash: str


@router.post(
    "/oauth/introspect",
    summary="Introspect a token (RFC 7662)",
    openapi_extra=form_body(["token"], _INTROSPECTED),
    responses={**ERRORS, 403: {"description": "The same: the client may not introspect."}},
)
async def introspect(
    sent: OAuthForm, use_cases: InjectedUseCases, request: Request, _documented: ClientScheme
) -> Response:
    """Return what a token is good for now, or `{"active": false}`.

    The sidecar answers the same at `/introspect`, from memory. The response has no `exp`: some
    clients would cache it until then, and miss a revocation. Compare `aud` with your service.
    """
    require_known(sent, *_INTROSPECTED)
    client = await authenticate(sent, request, use_cases)
    record = await use_cases.presented_tokens.introspect(
        _token_of(sent), client=client, address=sent.values.get("address")
    )
    return JSONResponse(
        introspection.INACTIVE
        if record is None
        else introspection.describe(record, as_of=record.as_of),
        headers=NO_STORE,
    )


@router.post(
    "/oauth/revoke",
    summary="Revoke a token of the client (RFC 7009)",
    openapi_extra=form_body(["token"], _REVOKED),
    responses={
        **ERRORS,
        202: {"description": "Committed. With `wait`: not enforced within the timeout."},
    },
)
async def revoke(
    sent: OAuthForm,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
    request: Request,
    _documented: ClientScheme,
) -> Response:
    """Revoke a token that was issued to the client.

    200 means that the revocation is committed, or that the token was not accepted anyway. With
    `wait`, it means that no verifier accepts the token any more, except for `grace` verifiers that
    are in grace. 503: try again.
    """
    require_known(sent, *_REVOKED)
    client = await authenticate(sent, request, use_cases)
    wait = sent.values.get("wait", "false")
    if wait not in {"true", "false"}:
        raise OAuthError("invalid_request", "wait must be true or false.")
    timeout_s = sent.number("timeout", most=MAX_WAIT_S)
    if timeout_s == 0:
        raise OAuthError("invalid_request", "timeout must be at least 1 second.")
    token = _token_of(sent)
    committed = await use_cases.presented_tokens.revoke(
        token,
        client=client,
        awaited=wait == "true",
        idempotency=bind_key(
            "POST /oauth/revoke",
            _RevocationBody(token_hash=token_format.digest(token).hex()),
            owner=client.credential.subject,
            key=key,
        ),
    )
    if committed is None:
        return JSONResponse({}, headers=NO_STORE)
    done: dict[str, object] = {"revocation_id": committed.revocation_id, "seq": committed.seq}
    if wait == "false":
        return JSONResponse({**done, "state": "committed"}, headers=NO_STORE)
    found = await use_cases.enforcer.receipt(
        committed, timeout_s=_DEFAULT_WAIT_S if timeout_s is None else timeout_s
    )
    if isinstance(found, EnforcementProgress):
        return JSONResponse({**done, "state": "committed"}, status_code=202, headers=NO_STORE)
    grace = receipts.decode(signed_envelope.decode(found).content).grace
    return JSONResponse({**done, "state": "enforced", "grace": len(grace)}, headers=NO_STORE)


def _token_of(sent: OAuthRequest) -> str:
    if "token" not in sent.values:
        raise OAuthError("invalid_request", "token is missing.")
    return sent.values["token"]
