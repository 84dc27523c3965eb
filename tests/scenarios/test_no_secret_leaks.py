"""A whole installation, its secrets known, used and misused: none turns up where it may not.

Each secret has homes: files of mode 0600 that are there to hold it. All else that can be read
afterwards, and each command line meanwhile, is searched; a control finds what is planted.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from redis import Redis
from tests.support import canaries as looking
from tests.support import postgres_files, processes
from tests.support.canaries import Canaries
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment, mode

from rescind import Verifier
from rescind.wire import nats_subjects
from rescind_runtime.net import nats_connection

pytestmark = pytest.mark.timeout(300)

SUBJECTS = (
    nats_subjects.HEARTBEAT,
    nats_subjects.RESOLVE,
    nats_subjects.SINCE,
    nats_subjects.ENROL,
    nats_subjects.ACK,
    nats_subjects.USED,
    nats_subjects.OFFER,
    nats_subjects.WANTED,
)
"""All subjects but events. NATS stores events of every sender, so the test would leak by itself."""

LINK = ("heartbeat", "resolve", "since", "enrol", "ack", "used", "offer")
USAGE = 2
PASSWORDS = frozenset({"Postgres", "Redis", "NATS"})


@dataclass
class Scene:
    """The installation, its secrets, and all that it has said."""

    data: Path
    servers: Path
    run: processes.Run
    canaries: Canaries = field(default_factory=Canaries)
    said: list[str] = field(default_factory=list)

    @property
    def ready(self) -> Mapping[str, Any]:
        return self.run.ready

    def rescind(self, *arguments: str, stdin: str = "", shows: bool = False, **more: str) -> str:
        """Run a command; only one that `shows` a secret may have it on stdout, never on stderr."""
        ended = subprocess.run(
            [sys.executable, "-m", "rescind_cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=clean_environment(RESCIND_DATA=str(self.data), RESCIND_LOG="console:debug", **more),
        )
        assert ended.returncode != USAGE, ended.stderr
        self.said.append(ended.stderr if shows else ended.stdout + ended.stderr)
        return ended.stdout

    def issued(self, name: str, *arguments: str, stdin: str = "") -> dict[str, Any]:
        """Run a command that gives a token, which is a secret from now on."""
        shown: dict[str, Any] = json.loads(
            self.rescind(*arguments, "--json", stdin=stdin, shows=True)
        )
        self.canaries.add(name, shown["token"])
        return shown

    def know_the_installation(self) -> None:
        """Take note of what it made for itself, and of what it was given."""
        for name, path in self.homes().items():
            if name in {"admin", "edge key", "root key"} or name.startswith("credential"):
                self.canaries.add(name, path.read_text().strip())
        keyring = json.loads((self.data / "keyring").read_text())
        for name, key in [
            *keyring["keys"],
            *((each, keyring[each]) for each in ("master", "sealing")),
        ]:
            self.canaries.add(f"keyring {name}", key)
        for name, url in (("Postgres", "postgres"), ("Redis", "redis"), ("NATS", "nats")):
            password = urlsplit(self.ready[url]).password
            assert password
            self.canaries.add(name, password)

    def homes(self) -> dict[str, Path]:
        """Say where secrets live; the passwords stand in `env`, which is their home too."""
        return {
            "admin": self.data / "admin-token",
            "edge key": self.data / "edge-key",
            "root key": self.data / "root-key",
            "keyring": self.data / "keyring",
            "NATS": self.data / "nats" / "password",
            "NATS server": self.data / "nats" / "nats.conf",
            "env": self.data / "env",
            **{
                f"credential {path.name}": path
                for path in (self.data / "credentials").glob("service-?")
            },
        }

    def strays(self) -> dict[str, set[Path]]:
        """Say which secrets lie in files that are not their homes."""
        homes = self.homes()
        found = looking.in_files(self.canaries, self.data, self.servers)
        for name, paths in found.items():
            own = {homes.get(name), homes.get(name.partition(" ")[0])}
            if name in PASSWORDS:
                own |= {homes["env"], homes["NATS server"] if name == "NATS" else None}
            paths -= {each for each in own if each is not None}
        return {name: paths for name, paths in found.items() if paths}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    servers, data = tmp_path / "servers", tmp_path / "data"
    servers.mkdir()
    postgres_files.lay_blocking(servers)
    guarded = ("-m", "tests.support.guarded_servers", str(servers))
    options = ("--data", str(data), "--sidecars", "2", "--port", "0", "--json")
    with processes.running(*guarded, environ=clean_environment()) as given:
        environment = clean_environment(
            RESCIND_POSTGRES_DSN=str(given.ready["postgres"]),
            RESCIND_REDIS_URL=str(given.ready["redis"]),
            RESCIND_LOG="console:debug",
        )
        with processes.running("-m", "rescind_cli", "up", *options, environ=environment) as run:
            made = Scene(data, servers, run)
            made.know_the_installation()
            yield made


async def test_no_secret_appears_outside_the_places_where_it_belongs(scene: Scene) -> None:
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject.encode() + message.data)

    async with nats_connection.connection(scene.ready["nats"], name="test") as nats:
        await nats_connection.subscribe(nats, ">", hear)
        with looking.watched_processes(scene.canaries) as shown:
            await asyncio.to_thread(use, scene)
            in_environments = looking.in_environments(scene.canaries, scene.data)
            await asyncio.to_thread(misuse_http, scene)
            in_traffic = scene.canaries.among(b"\n".join(heard))
            await misuse_nats(scene, nats)
            await asyncio.to_thread(misuse_commands, scene)
    found = {
        "command lines": shown,
        "environments": {
            name: leaked
            for name, secrets in in_environments.items()
            if (leaked := secrets - PASSWORDS)
        },
        "NATS": in_traffic,
        "Postgres": await looking.in_postgres(scene.canaries, scene.ready["postgres"]),
        "Redis": looking.in_redis(scene.canaries, scene.ready["redis"]),
        "metrics": scene.canaries.among("".join(open_pages(scene))),
        "files": scene.strays(),
    }
    kill_the_authority(scene)
    found |= {
        "commands": scene.canaries.among("\n".join(scene.said)),
        "files after a crash": scene.strays(),
    }
    assert {place: secrets for place, secrets in found.items() if secrets} == {}
    assert {path: mode(path) for path in scene.homes().values() if mode(path) != 0o600} == {}


def use(scene: Scene) -> None:
    """Do with every verb what it is for."""
    run = scene.rescind
    issue = ("issue", "--scope", "a", "--kind")
    agent = scene.issued("agent", *issue, "agent", "--subject", "agent:a")
    child = ("delegate", "--subject", "agent:a/b", "--scope", "a")
    scene.issued("child", *child, stdin=agent["token"])
    session = scene.issued("session", *issue, "session", "--subject", "user:a")
    new = scene.issued("rotated", "tokens", "rotate", agent["token_id"], "--overlap", "1h")
    own = scene.issued("own", "tokens", "rotate", "-", "--overlap", "1h", stdin=new["token"])
    exchange = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": own["token"],
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject": "agent:a/c",
        "scope": "a",
    }
    exchanged = httpx2.post(f"{scene.ready['authority']}/oauth/token", data=exchange).json()
    scene.canaries.add("exchanged", exchanged["access_token"])
    for token in scene.canaries.known.values():
        for sidecar in scene.ready["sidecars"]:
            verifier = Verifier.attach(sidecar["socket"], timeout_s=5)
            verifier.check(token)
            verifier.check(token, audience=token, require={token})
            verifier.close()
    run("check", stdin=own["token"])
    run("check", "--require", "nothing", "--audience", "nobody", stdin=session["token"])
    for arguments in (
        ("tokens", "ls"),
        ("tokens", "show", agent["token_id"]),
        ("tree", agent["token_id"]),
        ("subjects", "show", "agent:a"),
        ("explain", agent["token_id"]),
        ("fleet",),
        ("canary", "--once"),
        ("narrow", "subject:agent:a", "--remove", "a", "--wait"),
        ("suspend", "subject:user:a", "--wait"),
        ("tokens", "expire", session["token_id"]),
        ("kill", "agent:z", "--yes"),
        ("events", "--json"),
        ("term",),
        ("doctor", "--json"),
        ("keys", "show"),
        ("ledger", "show"),
    ):
        run(*arguments)
    run("tree", "-", stdin=agent["token"])
    run("revoke", "-", "--wait", "--reason", "over", stdin=own["token"])
    run("check", stdin=own["token"])


def misuse_http(scene: Scene) -> None:
    """Put every token where it does not belong, at the authority and at a sidecar."""
    sidecar = scene.ready["sidecars"][0]
    urls = (scene.ready["authority"], sidecar["http"])
    tokens = {name: each for name, each in scene.canaries.known.items() if each.startswith("rsc_")}
    for name, token in tokens.items():
        few = name in {"admin", "agent", "session"}
        for url in urls if few else urls[:1]:
            for bearer in {tokens["admin"], token} if few else {tokens["admin"]}:
                headers = {"authorization": f"Bearer {bearer}"}
                with httpx2.Client(base_url=url, headers=headers, timeout=30) as http:
                    for answer in misplaced(http, token):
                        scene.said.append(f"{answer.headers} {answer.text}")
    token = tokens["agent"]
    for raw in (f"{token} / HTTP/1.1\r\n\r\n", f"GET /{token}\0 HTTP/1.1\r\n\r\n", token):
        for url in urls:
            address = urlsplit(url)
            with socket.create_connection(
                (str(address.hostname), int(address.port or 0)), 5
            ) as line:
                scene.said.append(spoken(line, raw.encode()))
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(sidecar["socket"])
            scene.said.append(spoken(line, raw.encode()))


def misplaced(http: httpx2.Client, token: str) -> Iterator[httpx2.Response]:
    headers = {"idempotency-key": token, "last-event-id": token, "cookie": f"session={token}"}
    for path in (f"/{token}", f"/v1/tokens/{token}", f"/verify/{token}", f"/v1/sessions/{token}"):
        yield http.get(path)
        yield http.get(path, params={"require": token, "audience": token, "min_seq": token})
    for query in ("subject", "cursor", "label", "state", "limit", token):
        yield http.get("/v1/tokens", params={query: token})
    yield http.get("/v1/events", headers=headers)
    yield http.get("/verify", headers={"authorization": f"Basic {token}"})
    for path in ("/v1/tokens", "/v1/revocations", "/v1/delegations", "/v1/check", "/v1/term"):
        for body in ({token: 1}, {"token": token, "reason": 1}, {"selector": [token]}, [token]):
            yield http.post(path, json=body)
        yield http.post(path, json={"subject": token, "kind": token, "scopes": [token]})
        yield http.post(path, content=token, headers={"content-type": "application/json"})
        yield http.post(path, json={"subject": "agent:x", "kind": "agent"}, headers=headers)
    reason = {"selector": ["subject:agent:y"], "reason": f"it was {token}"}
    yield http.post("/v1/revocations", json=reason)
    yield http.post(
        "/v1/tokens", json={"subject": "user:x", "kind": "session", "user_agent": token}
    )
    yield http.post(
        "/oauth/token", data={"grant_type": token, "subject_token": token, token: token}
    )
    for name in LINK:
        yield http.post(f"/link/v1/{name}", content=token)


def spoken(line: socket.socket, sent: bytes) -> str:
    """Say something to a server, and give what it says until it hangs up or a while is over."""
    answer = b""
    with contextlib.suppress(OSError):
        line.settimeout(0.3)
        line.sendall(sent)
        while more := line.recv(65_536):
            answer += more
    return answer.decode(errors="replace")


async def misuse_nats(scene: Scene, nats: Client) -> None:
    """Say every secret where sidecars and authorities listen."""
    for secret in scene.canaries.known.values():
        for subject in SUBJECTS:
            await nats.publish(subject, secret.encode())
    await nats.flush()


def misuse_commands(scene: Scene) -> None:
    """Tell the commands of servers that are not there, whose passwords are secret."""
    for name, variable, url in (
        ("Postgres, away", "RESCIND_POSTGRES_DSN", "postgresql://a:{}@127.0.0.1:1/x"),
        ("Postgres, no URL", "RESCIND_POSTGRES_DSN", "postgresql://a:{}@[x:y/z"),
        ("NATS, away", "RESCIND_NATS_URL", "nats://a:{}@127.0.0.1:1"),
        ("NATS, no URL", "RESCIND_NATS_URL", "nats://a:{}@[x:y"),
        ("Redis, away", "RESCIND_REDIS_URL", "redis://a:{}@127.0.0.1:1"),
        ("Redis, no URL", "RESCIND_REDIS_URL", "redis://a:{}@[x:y"),
    ):
        password = scene.canaries.add(name, f"canary{len(scene.canaries.known):02}" * 4)
        told: dict[str, Any] = {variable: url.format(password)}
        scene.rescind("doctor", **told)
        if name.startswith("Postgres"):
            scene.rescind("migrate", **told)
            scene.rescind("ledger", "show", **told)
    scene.rescind("tokens", "ls", RESCIND_ADMIN_TOKEN=scene.canaries.known["agent"])


def open_pages(scene: Scene) -> Iterator[str]:
    urls = [scene.ready["authority"], *(each["http"] for each in scene.ready["sidecars"])]
    for url in urls:
        for page in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
            yield httpx2.get(f"{url}{page}").text


def kill_the_authority(scene: Scene) -> None:
    """Let a part die: the rest ends with it, and says why."""
    os.kill(scene.ready["pids"]["authority"], signal.SIGKILL)
    process = scene.run.process
    process.wait(30)
    assert process.returncode != 0
    assert process.stderr is not None
    scene.said.append(process.stderr.read().decode())


async def test_the_search_finds_a_planted_secret(scene: Scene, tmp_path: Path) -> None:
    canaries, ready = scene.canaries, scene.ready
    planted = canaries.add("planted", "rsc_agt_" + "0Planted" * 7 + "1234")
    (scene.data / "logs" / "planted.log").write_bytes(b"\0" * 5_000_000 + planted.encode())
    assert scene.strays() == {"planted": {scene.data / "logs" / "planted.log"}}
    with Redis.from_url(ready["redis"]) as client:
        client.set("planted", planted.rpartition("_")[2])
    assert looking.in_redis(canaries, ready["redis"]) == {"planted"}
    connection = await asyncpg.connect(ready["postgres"])
    await connection.execute("CREATE TABLE planted AS SELECT $1::bytea AS b", planted.encode())
    await connection.close()
    assert await looking.in_postgres(canaries, ready["postgres"]) == {"planted"}
    sleeper = ("-c", "import time; print('{}', flush=True); time.sleep(60)", planted)
    with looking.watched_processes(canaries) as shown:
        with processes.running(*sleeper, environ=clean_environment()):
            eventually_blocking(lambda: "planted" in shown)
        for form in (planted.upper(), planted.encode().hex().upper(), planted[8:]):
            assert ("planted" in canaries.among(f"x{form}y")) is (form != planted.upper())
