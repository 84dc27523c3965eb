"""The command line: quick to start, one message for a failure, and no token in argv."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from tests.support.processes import clean_environment

from rescind_cli.__main__ import EXIT_CRASHED, rescind
from rescind_cli.command_table import VERBS


def commands() -> list[tuple[str, click.Command]]:
    """Return every command with its name, those inside groups too."""
    context = click.Context(rescind)
    found: list[tuple[str, click.Command]] = []
    for verb in VERBS:
        command = rescind.get_command(context, verb)
        assert command is not None
        found.append((verb, command))
        if isinstance(command, click.Group):
            found += [(f"{verb} {name}", each) for name, each in command.commands.items()]
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_shows_the_summary_of_each_verb(verb: str) -> None:
    command = rescind.get_command(click.Context(rescind), verb)
    assert command is not None
    assert command.help is not None
    if verb != "up":  # it names its parts there, and its purpose here
        assert command.help.partition("\n")[0].replace("`", "") == VERBS[verb]


def test_no_option_and_no_argument_takes_a_token() -> None:
    for _, command in commands():
        names = {parameter.name for parameter in command.params}
        assert not names & {"token", "admin_token", "secret", "password"}


def test_every_command_that_answers_has_a_json_form() -> None:
    groups = {"tokens", "clients", "subjects", "revocations", "recover", "keys", "ledger"}
    silent = groups | {"authority", "sidecar", "completion"}
    for name, command in commands():
        if name not in silent:
            assert "as_json" in {parameter.name for parameter in command.params}, name


@pytest.mark.parametrize("heavy", ["rescind", "asyncio", "pydantic", "httpx2", "rich"])
def test_help_imports_nothing_heavy(heavy: str) -> None:
    code = (
        "import sys\n"
        "from rescind_cli.__main__ import rescind\n"
        "rescind.main(['--help'], standalone_mode=False)\n"
        f"sys.exit({heavy!r} in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize("heavy", ["pydantic", "httpx2", "rich", "uvicorn", "nats"])
def test_check_imports_no_more_than_the_sdk(heavy: str) -> None:
    code = (
        "import sys\n"
        "import rescind_cli.commands.tokens.check\n"
        f"sys.exit({heavy!r} in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        *(["nonsense"], ["issue"], ["revoke"], ["revoke", "x"], ["tokens", "ls", "--no"]),
        *(["tokens", "show", ""], ["revocations", "show", " "], ["lift", ""], ["explain", ""]),
        *(["receipt", ""], ["tree", ""], ["tokens", "rotate", ""], ["tokens", "expire", ""]),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rescind_cli", *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_a_defect_is_one_line_and_has_its_own_exit_code() -> None:
    code = (
        "import sys\n"
        "from rescind_cli import __main__, settings\n"
        "def broken(**_):\n"
        "    raise ZeroDivisionError('oops')\n"
        "settings.authority = broken\n"
        "sys.argv = ['rescind', 'fleet']\n"
        "__main__.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True
    )
    assert ended.returncode == EXIT_CRASHED
    assert "Traceback" not in ended.stderr
    assert "ZeroDivisionError" in ended.stderr


@pytest.mark.parametrize(
    ("missing", "verb", "extra"),
    [("structlog", "up", "all"), ("nats", "demo", "all"), ("httpx2", "fleet", "admin")],
)
def test_a_missing_extra_is_named(missing: str, verb: str, extra: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from rescind_cli import __main__\n"
        f"sys.argv = ['rescind', {verb!r}]\n"
        "__main__.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        env=clean_environment(RESCIND_URL="http://127.0.0.1:9", RESCIND_ADMIN_TOKEN="x"),
    )
    assert ended.returncode == 1
    assert f"pip install 'rescind[{extra}]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_click_the_error_states_what_to_install() -> None:
    code = "import sys\nsys.modules['click'] = None\nimport rescind_cli.__main__\n"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True
    )
    assert ended.returncode == 1
    assert "pip install 'rescind[cli]'" in ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_variable_of_rescind(shell: str) -> None:
    ended = CliRunner().invoke(rescind, ["completion", shell], prog_name="rescind")
    assert ended.exit_code == 0
    assert "_RESCIND_COMPLETE" in ended.stdout
