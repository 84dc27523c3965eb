"""A project of Django with synchronous and asynchronous views, for its tests and those of DRF."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from rescind.integrations.django import requires

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=[],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rescind.integrations.drf.RescindAuthentication"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()


@requires("search:read")
def search(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.rescind.subject)  # type: ignore[attr-defined]  # the decorator's


@requires("search:read")
async def search_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.rescind.subject)  # type: ignore[attr-defined]  # the decorator's


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def revoke(request: HttpRequest) -> None:
    """Revoke the token of the request, during its call."""
    settings.RESCIND["VERIFIER"].revoke("subject:agent:a")


def slow(request: HttpRequest) -> HttpResponse:
    revoke(request)
    return HttpResponse("secret")


may_return = threading.Event()


def waiting(request: HttpRequest) -> HttpResponse:
    revoke(request)
    assert may_return.wait(10)
    return HttpResponse("secret")


async def slow_async(request: HttpRequest) -> HttpResponse:
    revoke(request)
    await asyncio.Event().wait()
    return HttpResponse("secret")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        yield "1"
        revoke(request)
        yield "2"

    return StreamingHttpResponse(parts())


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield "1"
        revoke(request)
        await asyncio.Event().wait()
        yield "2"

    return StreamingHttpResponse(parts())


@method_decorator(requires("search:read"), name="dispatch")
class Search(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.rescind.subject)  # type: ignore[attr-defined]  # the decorator's


@method_decorator(requires("search:read"), name="dispatch")
class SearchAsync(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        if "slow" in request.GET:
            return await slow_async(request)
        return HttpResponse(request.rescind.subject)  # type: ignore[attr-defined]  # the decorator's


def failing(request: HttpRequest) -> HttpResponse:
    raise LookupError


urlpatterns = [
    path("search", search),
    path("search-async", search_async),
    path("search-class", Search.as_view()),
    path("search-class-async", SearchAsync.as_view()),
    path("plain", plain),
    path("slow", slow),
    path("waiting", waiting),
    path("slow-async", slow_async),
    path("stream", stream),
    path("stream-async", stream_async),
    path("failing", failing),
]
