"""`python -m rescind_cli.scenes.service`: a small real service, guarded by the middleware.

RESCIND_SOCKET names its sidecar. It listens on any free port of loopback, and announces its URL.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rescind.integrations.asgi import RescindMiddleware
from rescind_runtime import ready, supervise, web
from rescind_runtime.supervise import Stop

SCOPE = "work:do"


async def _work(request: Request) -> JSONResponse:
    return JSONResponse({"done_for": request.state.rescind.subject})


async def _main(stop: Stop) -> None:
    app = RescindMiddleware(Starlette(routes=[Route("/work", _work)]), require={SCOPE})
    async with web.serving(app, "127.0.0.1:0") as url:
        ready.announce(url=url)
        await stop.wait()


if __name__ == "__main__":
    supervise.run(_main, name="demo service")
