"""`POST /v1/check`: judge a token for any language that speaks HTTP and JSON."""

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


def _scope(text: str) -> str:
    try:
        return scopes.parse(text)
    except ScopeError:
        # A pattern that a token has would cover it: `a:*` covers `a:x b:y`. Not repeated, as below.
        raise ValueError("expected a scope, such as tools:call; several are a list") from None


class Asked(BaseModel):
    """The body."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: Annotated[str, Field(max_length=1024)]
    require: Annotated[list[Annotated[str, AfterValidator(_scope)]], Field(max_length=256)] = []
    audience: str | None = None
    address: Annotated[str, Field(max_length=64)] | None = None
    min_seq: Annotated[int, Field(ge=0, lt=1 << 64)] = 0

    def request(self) -> CheckRequest:
        """Return what the check is asked."""
        return CheckRequest(self.token, self.require, self.audience, self.address, self.min_seq)


class CheckEndpoint:
    """Check the token in the body."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Return the response to a request.

        A request that cannot be read is refused at once. Any other is answered when the token is
        judged.
        """
        if request.method != "POST":
            return allowing("POST")
        try:
            asked = Asked.model_validate_json(request.body)
        except ValidationError as error:
            return _unusable(error)
        return self._judge(asked.request())

    async def _judge(self, request: CheckRequest) -> HttpResponse:
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


def _unusable(error: ValidationError) -> HttpResponse:
    # The names of fields that we do not know are never repeated: they may be somebody's token.
    errors = [
        {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
        for each in error.errors(include_url=False, include_input=False, include_context=False)
        if each["type"] != "extra_forbidden"
    ] or [{"field": "", "problem": "a field that is not known"}]
    return problem(422, "invalid-request", "The request cannot be read", _EXPECTED, errors=errors)
