"""Each `--help` has an example and works without the extras, and what is almost right is named."""

import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from tests.support.processes import clean_environment
from tests.unit.rescind_cli.test_main import commands

from rescind.core import handles
from rescind.errors import SelectorError
from rescind_cli.__main__ import rescind
from rescind_cli.command_table import VERBS
from rescind_cli.help.examples import EXAMPLES
from rescind_cli.output.exit_codes import Exit

RUNNABLE_GROUPS = {"term", "sidecar", "fleet"}


def test_each_command_shows_an_example() -> None:
    named = {
        name
        for name, command in commands()
        if not isinstance(command, click.Group) or name in RUNNABLE_GROUPS
    }
    assert EXAMPLES.keys() == named
    for name in named:
        shown = CliRunner().invoke(rescind, [*name.split(), "--help"], prog_name="rescind")
        assert shown.exit_code == 0, name
        assert all(f"  {each}\n" in shown.output for each in EXAMPLES[name]), shown.output


def test_the_help_names_every_exit_code() -> None:
    shown = CliRunner().invoke(rescind, ["--help"], prog_name="rescind").output
    codes = shown.partition("Exit codes:")[2]
    assert all(re.search(rf"\n +{code.value} ", codes) for code in Exit)
    assert all(code in codes for code in ("70", "129", "130", "141", "143"))


def test_each_help_works_with_click_and_the_bare_sdk_alone() -> None:
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.partition('.')[0]\n"
        "        if top in {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {{top}}', name=top)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from click.testing import CliRunner\n"
        "from rescind_cli.__main__ import VERBS, rescind\n"
        "for verb in VERBS:\n"
        "    shown = CliRunner().invoke(rescind, [verb, '--help'], prog_name='rescind')\n"
        "    assert shown.exit_code == 0, (verb, shown.output, shown.exception)\n"
        "    assert VERBS[verb].split()[0] in shown.output, (verb, shown.output)\n"
        "shown = CliRunner().invoke(rescind, ['bench', '--help'], prog_name='rescind')\n"
        "assert 'pip install' in ' '.join(shown.output.split()), shown.output\n"
    )
    missing = {
        *("httpx2", "pydantic", "pydantic_settings", "structlog", "uvloop", "uvicorn", "fastapi"),
        *("asyncpg", "nats", "redis", "rich", "nacl", "jwt", "httptools", "prometheus_client"),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code.format(missing=missing)],
        capture_output=True,
        check=False,
        text=True,
        env=clean_environment(),
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["revok", "x"], "revoke"),
        (["tokens", "lss"], "ls"),
        (["revocations", "shwo"], "show"),
        (["keys", "rotat"], "rotate"),
        (["fleet", "--jsn"], "--json"),
        (["issue", "--subject", "agent:a", "--kind", "agnt"], "agent"),
        (["tokens", "ls", "--kind", "sesion"], "session"),
        (
            ["issue", "--subject", "admin:a", "--kind", "admin", "--scope", "rescind:revok"],
            "rescind:revoke",
        ),
        (["revoke", "subjct:agent:a"], "subject:agent:a"),
        (["revoke", "agent:a"], "subject:agent:a"),
        (["revoke", "billing-bot"], "subject:billing-bot"),
        (["suspend", "Tenant:t"], "tenant:t"),
    ],
)
def test_a_misspelt_argument_is_answered_with_a_suggestion(
    arguments: list[str], meant: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rescind_cli", *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=clean_environment(RESCIND_URL="http://127.0.0.1:9", RESCIND_ADMIN_TOKEN="x"),
    )
    assert ended.returncode == 2
    assert meant in ended.stderr
    assert "ean" in ended.stderr  # did you mean, in click's words or in ours


@pytest.mark.parametrize("text", ["zzzz:x", "\x1b[2J", ""])
def test_without_a_similar_name_nothing_is_suggested(text: str) -> None:
    with pytest.raises(SelectorError) as raised:
        handles.parse(text)
    assert "did you mean" not in str(raised.value)


def test_every_verb_is_there() -> None:
    assert VERBS.keys() == {name.split()[0] for name, _ in commands()}
