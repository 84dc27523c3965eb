"""Authentication and permissions for Django REST framework.

    class Search(APIView):
        authentication_classes = [RescindAuthentication]
        permission_classes = [requires("search:read")]

        def get(self, request):
            return Response(request.auth.subject)

`request.auth` is the token's record, and `request.user` a `TokenUser`. Refusals have the body of
the framework with a `reason`, and the headers of every integration. A call without a bearer token
goes to the next authentication class, and then to the permissions.

The setting `RESCIND` of `rescind.integrations.django` has the keys `AUDIENCE`, `RESOURCE_METADATA`
and `VERIFIER`. A token is checked before the view. A view that streams inherits from `HoldMixin`:

    class Export(HoldMixin, APIView): ...
"""

import json
from typing import TYPE_CHECKING, Any, cast

from rescind.core.record import Record
from rescind.core.verdict import Reason
from rescind.integrations import cgi_variables
from rescind.integrations.django import build_guard, hold_response
from rescind.integrations.extras import needing
from rescind.integrations.guard import Requirement
from rescind.integrations.thread_call import ThreadCall
from rescind.wire.bearer import Refusal

with needing("rest_framework", "djangorestframework"):
    from django.http.response import StreamingHttpResponse
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.exceptions import APIException
    from rest_framework.permissions import BasePermission
    from rest_framework.request import Request

if TYPE_CHECKING:
    from rest_framework.views import APIView

    _View = APIView
else:
    _View = object  # the framework loads this module while it loads APIView

__all__ = ["HoldMixin", "RefusedException", "RescindAuthentication", "TokenUser", "requires"]

_GUARD = "rescind.guard"


class TokenUser:
    """The caller of a request with a good token, as the framework's permissions expect it."""

    is_authenticated = True
    is_active = True
    is_anonymous = False
    is_staff = False
    is_superuser = False

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def pk(self) -> str:
        """Return the subject, by which throttles count calls."""
        return self.record.subject

    def __str__(self) -> str:
        """Return the subject."""
        return self.record.subject


class RefusedException(APIException):
    """Raised to refuse a call (RFC 6750), as a problem in the framework's own form."""

    def __init__(self, refusal: Refusal) -> None:
        headers = dict(refusal.headers)
        detail = {"detail": json.loads(refusal.body)["detail"], "reason": refusal.reason}
        super().__init__(cast("Any", detail), code=refusal.reason)
        self.status_code = refusal.status
        self.auth_header = headers.get("www-authenticate")
        self.wait = int(headers["retry-after"]) if "retry-after" in headers else None


class RescindAuthentication(BaseAuthentication):
    """Authentication with a bearer token, which is checked on every call."""

    def authenticate(self, request: Request) -> tuple[Any, Record] | None:
        """Return the caller and the record; None without a bearer token.

        Raises RefusedException for a token that is denied, also if no permission is required.
        """
        variables = request.META
        checked = build_guard(()).check(
            cgi_variables.headers_of(variables), cgi_variables.address_of(variables)
        )
        if isinstance(checked, Record):
            return self.find_user(checked), checked
        if checked.reason is Reason.MISSING:
            return None
        raise _refuse(request, checked)

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge for a call without a token, which is being refused."""
        refusal = build_guard(()).refuse(Reason.MISSING)
        _add_headers(request, refusal)
        return dict(refusal.headers)["www-authenticate"]

    def find_user(self, record: Record) -> Any:
        """Return `request.user` for a record. Override it to look up a user of your own."""
        return TokenUser(record)


def requires(*scopes: str, audience: str | None = None) -> type[BasePermission]:
    """Return a permission that admits calls with a good bearer token for these scopes.

    `audience` None means that of the settings. Raises ScopeError for an invalid scope.
    """
    required = Requirement.parse(scopes).scopes

    class ScopePermission(BasePermission):
        def has_permission(self, request: Request, view: "APIView") -> bool:  # noqa: ARG002 fixed
            if not isinstance(request.auth, Record):
                return False
            guard = build_guard(required, audience=audience)
            checked = guard.check(
                cgi_variables.headers_of(request.META), cgi_variables.address_of(request.META)
            )
            if isinstance(checked, Refusal):
                raise _refuse(request, checked)
            request.META[_GUARD] = guard
            return True

    return ScopePermission


class HoldMixin(_View):
    """A view whose streaming response is broken off when the token is denied."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Hold the token of a streaming response until it has ended."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if not isinstance(response, StreamingHttpResponse) or not isinstance(request.auth, Record):
            return response
        guard = request.META.get(_GUARD) or build_guard(())
        call = ThreadCall.begin(guard, request.META)
        if isinstance(call, ThreadCall):
            return hold_response(response, guard, request, call)
        response.close()
        refused = self.handle_exception(RefusedException(call))
        return super().finalize_response(request, refused, *args, **kwargs)


def _refuse(request: Request, refusal: Refusal) -> RefusedException:
    _add_headers(request, refusal)
    return RefusedException(refusal)


def _add_headers(request: Request, refusal: Refusal) -> None:
    """Set the headers that an exception of the framework does not carry."""
    view = (request.parser_context or {}).get("view")
    if view is not None:
        headers = dict(refusal.headers)
        view.headers |= {
            "X-Rescind-Reason": refusal.reason,
            "Cache-Control": headers["cache-control"],
        }
