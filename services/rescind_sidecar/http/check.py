"""`POST /v1/check`: judge a token for any language that speaks HTTP and JSON."""

from collections.abc import Coroutine
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rescind.client.verifier import Verifier
from rescind.core import scopes
from rescind.core.verdict import Allowed, Denied
from rescind.errors import ScopeError
from rescind.wire import documents
from rescind_sidecar.http.messages import Reply, Request, allowing, document, problem

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


class Check:
    """Judge the token in the body."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def __call__(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        """Answer a request; one that cannot be read at once, another when the token is judged."""
        if request.method != "POST":
            return allowing("POST")
        try:
            asked = Asked.model_validate_json(request.body)
        except ValidationError as error:
            return _unusable(error)
        return self._judge(asked)

    async def _judge(self, asked: Asked) -> Reply:
        freshness = self._verifier.freshness()
        verdict = await self._verifier.acheck(
            asked.token,
            require=asked.require,
            audience=asked.audience,
            address=asked.address,
            min_seq=asked.min_seq,
        )
        match verdict:
            case Allowed(record):
                answer: dict[str, object] = {
                    "active": True,
                    "record": documents.of_record(record),
                    "as_of": max(freshness.as_of, record.as_of, asked.min_seq),
                    "fresh_for_ms": freshness.fresh_for_ms,
                }
            case Denied(reason):
                answer = {"active": False, "reason": reason}
        return document(200, answer)


def _unusable(error: ValidationError) -> Reply:
    # The names of fields that we do not know are never repeated: they may be somebody's token.
    errors = [
        {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
        for each in error.errors(include_url=False, include_input=False, include_context=False)
        if each["type"] != "extra_forbidden"
    ] or [{"field": "", "problem": "a field that is not known"}]
    return problem(422, "invalid-request", "The request cannot be read", _EXPECTED, errors=errors)
