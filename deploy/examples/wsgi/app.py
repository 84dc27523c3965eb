"""A WSGI application whose calls need a token: gunicorn --threads 8 app:application."""

import time

from rescind.integrations.wsgi import RescindMiddleware


def site(environ, start_response):
    if environ["REQUEST_METHOD"] == "OPTIONS":  # where middleware for CORS would be
        start_response("204 No Content", [("Access-Control-Allow-Origin", "*")])
        return []
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return ticks()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["rescind.record"].subject.encode()]


def ticks():
    while True:
        yield b"data: 1\n\n"
        time.sleep(30)


searching = RescindMiddleware(site, require={"search:read"}, preflight=True)
administration = RescindMiddleware(site, require={"admin:write"})


def application(environ, start_response):
    chosen = administration if environ["PATH_INFO"] == "/admin" else searching
    return chosen(environ, start_response)
