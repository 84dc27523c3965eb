"""A product's sessions: two devices, a list of them, and a "log out everywhere" that is true."""

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.scenarios.conftest import System
from tests.support.eventually import eventually

from rescind import Verifier
from rescind.client import AsyncBearer
from rescind.integrations.sessions import SessionMiddleware

COOKIE = "session"  # the test's servers speak no TLS


def product(system: System, verifier: Verifier) -> SessionMiddleware:
    """Make a small product behind one of the sidecars."""

    async def log_in(request: Request) -> JSONResponse:
        session = request.state.session
        await session.log_out()
        with system.admin() as admin:
            issued = admin.issue(
                subject="user:42",
                kind="session",
                ttl=600,
                user_agent=request.headers["user-agent"],
                address="192.0.2.7",
            )
        assert issued.token is not None
        session.begin(issued.token, max_age_s=600)
        return JSONResponse({})

    async def whoami(request: Request) -> JSONResponse:
        record = request.state.session.record
        return JSONResponse({"subject": record and record.subject})

    async def devices(request: Request) -> JSONResponse:
        async with AsyncBearer(system.ready["authority"], request.state.session.token) as bearer:
            return JSONResponse((await bearer.sessions())["sessions"])

    async def log_out(request: Request) -> JSONResponse:
        everywhere = "everywhere" in request.query_params
        await request.state.session.log_out(everywhere=everywhere, wait=True)
        return JSONResponse({})

    async def rotate(request: Request) -> JSONResponse:
        session = request.state.session
        async with AsyncBearer(system.ready["authority"], session.token) as bearer:
            rotated = await bearer.rotate(wait=True)
        assert rotated.token is not None
        session.renew(rotated.token)
        return JSONResponse({})

    routes = [
        Route("/login", log_in, methods=["POST"]),
        Route("/", whoami),
        Route("/devices", devices),
        Route("/logout", log_out, methods=["POST"]),
        Route("/rotate", rotate, methods=["POST"]),
    ]
    return SessionMiddleware(
        Starlette(routes=routes),
        verifier,
        authority=system.ready["authority"],
        secure=False,
        cookie=COOKIE,
    )


@pytest.fixture
def shops(system: System, verifiers: list[Verifier]) -> list[SessionMiddleware]:
    """Give the same product at two services."""
    return [product(system, verifier) for verifier in verifiers]


def browser(
    shop: SessionMiddleware, name: str, kept: httpx2.Cookies | None = None
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(shop),
        base_url="http://shop.test",
        headers={"user-agent": name},
        cookies=kept,
        trust_env=False,
    )


def is_logged_out(client: httpx2.AsyncClient) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return bool((await client.get("/")).json() == {"subject": None})

    return look


async def test_logging_out_everywhere_ends_every_session_at_every_service(
    system: System, shops: list[SessionMiddleware]
) -> None:
    async with browser(shops[0], "phone") as phone, browser(shops[0], "laptop") as laptop:
        assert (await phone.get("/")).json() == {"subject": None}
        for device in (phone, laptop):
            await device.post("/login")
            assert (await device.get("/")).json() == {"subject": "user:42"}
        shown = (await phone.get("/devices")).json()
        assert [(each["user_agent"], each["current"]) for each in shown] == [
            ("laptop", False),
            ("phone", True),
        ]
        async with browser(shops[1], "laptop", laptop.cookies) as elsewhere:
            assert (await elsewhere.get("/")).json() == {"subject": "user:42"}
            assert (await phone.post("/logout?everywhere")).status_code == httpx2.codes.OK
            # From here on, at every service, and the browsers are told to forget.
            assert (await elsewhere.get("/")).json() == {"subject": None}
        over = await laptop.get("/")
        assert over.json() == {"subject": None}
        assert not laptop.cookies
        await phone.post("/login")
        assert (await phone.get("/")).json() == {"subject": "user:42"}
        listed = system.run("subjects", "show", "user:42", "--kind", "session")
        assert [each["user_agent"] for each in listed["tokens"]] == ["phone"]
        # An operator can do it too, without the user.
        system.run("revoke", "subject:user:42", "kind:session", "--reason", "stolen", "--wait")
        assert (await phone.get("/")).json() == {"subject": None}


async def test_logging_out_one_device_leaves_the_other_logged_in(
    shops: list[SessionMiddleware],
) -> None:
    async with browser(shops[0], "phone") as phone, browser(shops[1], "laptop") as laptop:
        for device in (phone, laptop):
            await device.post("/login")
        assert (await phone.post("/logout")).status_code == httpx2.codes.OK
        assert (await phone.get("/")).json() == {"subject": None}
        assert (await laptop.get("/")).json() == {"subject": "user:42"}


async def test_a_log_in_ends_the_former_session_of_the_browser(
    system: System, verifiers: list[Verifier], shops: list[SessionMiddleware]
) -> None:
    async with browser(shops[0], "phone") as phone, browser(shops[0], "laptop") as laptop:
        await laptop.post("/login")
        await phone.post("/login")
        former = phone.cookies[COOKIE]
        await phone.post("/login")
        assert phone.cookies[COOKIE] != former
        assert (await phone.get("/")).json() == {"subject": "user:42"}
        thief = browser(shops[0], "phone", httpx2.Cookies({COOKIE: former}))
        async with thief:
            await eventually(is_logged_out(thief))
        assert (await laptop.get("/")).json() == {"subject": "user:42"}


async def test_a_rotated_session_continues_with_its_new_secret(
    shops: list[SessionMiddleware],
) -> None:
    async with browser(shops[0], "phone") as phone:
        await phone.post("/login")
        former = phone.cookies[COOKIE]
        assert (await phone.post("/rotate")).status_code == httpx2.codes.OK
        assert phone.cookies[COOKIE] != former
        assert (await phone.get("/")).json() == {"subject": "user:42"}
