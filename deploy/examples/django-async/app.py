"""A Django project in one file with asynchronous views: uvicorn app:application."""

import asyncio
import os

from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from rescind.integrations.django import requires

os.environ["DJANGO_SETTINGS_MODULE"] = ROOT_URLCONF = __name__
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = ["rescind.integrations.django.middleware"]
RESCIND = {"REQUIRE": ["search:read"], "PREFLIGHT": True}


async def search(request):
    if request.method == "OPTIONS":  # where a view or middleware for CORS would be
        return HttpResponse(status=204, headers={"Access-Control-Allow-Origin": "*"})
    return HttpResponse(request.rescind.subject)


@requires("admin:write")
async def administer(request):
    return HttpResponse(request.rescind.subject)


async def stream(request):
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


async def ticks():
    while True:
        yield "data: 1\n\n"
        await asyncio.sleep(30)


urlpatterns = [path("", search), path("admin", administer), path("stream", stream)]
application = get_asgi_application()
