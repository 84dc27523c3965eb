"""Django REST framework in one file, whose views need a token: gunicorn app:application."""

import os
import time

import django
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

os.environ["DJANGO_SETTINGS_MODULE"] = ROOT_URLCONF = __name__
ALLOWED_HOSTS = ["*"]
MIDDLEWARE = ["app.cors"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rescind.integrations.drf.RescindAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,  # without django.contrib.auth
}
django.setup()

from rest_framework.response import Response
from rest_framework.views import APIView

from rescind.integrations.drf import HoldMixin, requires


def cors(get_response):  # where django-cors-headers would be
    def answer(request):
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return HttpResponse(status=204, headers={"Access-Control-Allow-Origin": "*"})
        return get_response(request)

    return answer


class Search(APIView):
    permission_classes = [requires("search:read")]

    def get(self, request):
        return Response(request.auth.subject)


class Administration(APIView):
    permission_classes = [requires("admin:write")]

    def get(self, request):
        return Response(request.auth.subject)


class Stream(HoldMixin, APIView):
    permission_classes = [requires("search:read")]

    def get(self, request):
        return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def ticks():
    while True:
        yield "data: 1\n\n"
        time.sleep(30)


urlpatterns = [
    path("", Search.as_view()),
    path("admin", Administration.as_view()),
    path("stream", Stream.as_view()),
]
application = get_wsgi_application()
