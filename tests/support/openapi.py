"""The OpenAPI document of an authority that does not run."""

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from rescind_authority.http.app import application
from rescind_authority.http.dependencies import UseCases


class _NoUseCase:
    """A stand-in for every use case: routes are described, and none is called."""

    def __getattr__(self, _name: str) -> "_NoUseCase":
        return self


@cache
def document() -> Mapping[str, Any]:
    """Return the answer of `GET /openapi.json`, which needs the routes but no use case."""
    return application(cast("UseCases", _NoUseCase())).openapi()
