"""A Flask application whose views need a token: gunicorn --threads 8 app:app."""

import time

from flask import Flask, Response, g

from rescind.integrations.flask import requires

app = Flask(__name__)


@app.get("/")
@requires("search:read")
def search():
    return g.rescind.subject


@app.get("/admin")
@requires("admin:write")
def administer():
    return g.rescind.subject


@app.get("/stream")
@requires("search:read")
def stream():
    return Response(ticks(), mimetype="text/event-stream")


def ticks():
    while True:
        yield "data: 1\n\n"
        time.sleep(30)
