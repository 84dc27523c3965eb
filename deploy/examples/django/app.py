"""A Django project in one file whose views need a token: gunicorn --threads 8 app:application."""

import os
import time

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from rescind.integrations.django import requires

os.environ["DJANGO_SETTINGS_MODULE"] = ROOT_URLCONF = __name__
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = ["app.cors", "rescind.integrations.django.middleware"]
RESCIND = {"REQUIRE": ["search:read"]}


def cors(get_response):  # where django-cors-headers would be
    def answer(request):
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return HttpResponse(status=204, headers={"Access-Control-Allow-Origin": "*"})
        return get_response(request)

    return answer


def search(request):
    return HttpResponse(request.rescind.subject)


@requires("admin:write")
def administer(request):
    return HttpResponse(request.rescind.subject)


def stream(request):
    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def ticks():
    while True:
        yield "data: 1\n\n"
        time.sleep(30)


urlpatterns = [path("", search), path("admin", administer), path("stream", stream)]
application = get_wsgi_application()
