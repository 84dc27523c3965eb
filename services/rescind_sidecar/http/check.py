"""`POST /v1/check`: a check of a token, for any language with HTTP and JSON."""

from collections.abc import Coroutine
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rescind.client.verifier import Verifier
from rescind.core import scopes
from rescind.core.verdict import Allowed, CheckRequest, Denied
from rescind.errors import ScopeError
from rescind.wire import json_documents
from rescind_sidecar.http.messages import HttpRequest, HttpResponse, allowing, document, problem

PATH = "/v1/check"
_EXPECTED = (
    'Send {"token": text, "require": [scope, …], "audience": text or null, '
    '"address": the caller\'s or null, "min_seq": number}.'
)


def _parse_scope(text: str) -> str:
    try:
        return scopes.parse(text)
    except ScopeError:
        # A pattern of a token would cover the text: `a:*` covers `a:x b:y`. The text is not in the
        # error, for the reason in `_refuse_invalid`.
        raise ValueError("expected a scope, such as tools:call; several are a list") from None


class CheckBody(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: Annotated[str, Field(max_length=1024)]
    require: Annotated[
        list[Annotated[str, AfterValidator(_parse_scope)]], Field(max_length=256)
    ] = []
    audience: str | None = None
    address: Annotated[str, Field(max_length=64)] | None = None
    min_seq: Annotated[int, Field(ge=0, lt=1 << 64)] = 0

    def request(self) -> CheckRequest:
        """Return the body as the value that the verifier checks."""
        return CheckRequest(self.token, self.require, self.audience, self.address, self.min_seq)


class CheckEndpoint:
    """Check the token in the body."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Return the response to a request.

        A malformed request is refused at once. Any other is answered after the check of its token.
        """
        if request.method != "POST":
            return allowing("POST")
        try:
            body = CheckBody.model_validate_json(request.body)
        except ValidationError as error:
            return _refuse_invalid(error)
        return self._check(body.request())

    async def _check(self, request: CheckRequest) -> HttpResponse:
        freshness = self._verifier.freshness()
        verdict = await self._verifier.acheck_request(request)
        match verdict:
            case Allowed(record):
                answer: dict[str, object] = {
                    "active": True,
                    "record": json_documents.of_record(record),
                    "as_of": max(freshness.as_of, record.as_of, request.min_seq),
                    "fresh_for_ms": freshness.fresh_for_ms,
                }
            case Denied(reason):
                answer = {"active": False, "reason": reason}
        return document(200, answer)


def _refuse_invalid(error: ValidationError) -> HttpResponse:
    # The error never contains the name of an unknown field: it may be a token.
    errors = [
        {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
        for each in error.errors(include_url=False, include_input=False, include_context=False)
        if each["type"] != "extra_forbidden"
    ] or [{"field": "", "problem": "a field that is not known"}]
    return problem(422, "invalid-request", "The request cannot be read", _EXPECTED, errors=errors)
