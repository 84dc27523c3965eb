"""Every example that a `--help` shows does what it says, on a running system."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rescind_cli.__main__ import rescind
from rescind_cli.help.examples import EXAMPLES

OWN = "integration/cli/test_destructive_commands.py"
SUPERSEDED = {
    "up": "the fixture here, and scenarios/test_up_cleanup.py",
    "demo": "scenarios/test_demo_partition.py",
    "bench": "scenarios/test_bench.py",
    "authority": "the fixture here",
    "sidecar": "the fixture here",
    "fleet evict": f"{OWN}: the only sidecar here would end",
    "keys rotate": "integration/authority/test_keys.py: it holds back every other rotation",
    "keys retire": "integration/authority/test_stolen_keys.py: every sidecar begins anew",
    "keys renew": "integration/authority/test_stolen_keys.py, which runs the runbook's commands",
    "keys heard": "integration/authority/test_stolen_keys.py, which runs the runbook's commands",
    "ledger accept": f"{OWN}, and integration/authority/test_ledger_tampering.py",
    "ledger new-epoch": f"{OWN}: every sidecar begins anew",
}


@pytest.fixture(scope="module")
def names(
    ready: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Have a folder with a token in it, and the ids that the examples speak of."""
    folder = tmp_path_factory.mktemp("examples")
    before = Path.cwd()
    os.chdir(folder)
    found: dict[str, str] = {"RESCIND_DATA": str(ready["directory"])}
    issued = json.loads(run("rescind issue --subject agent:other --kind agent --json", found))
    held = json.loads(run("rescind suspend subject:agent:other --json", found))
    yield found | {"TOKEN_ID": issued["token_id"], "ID": held["id"]}
    os.chdir(before)


def run(example: str, names: Mapping[str, str]) -> str:
    """Run a line as a shell would, so far as examples go: names, `< FILE` and `> FILE`."""
    words = [word.replace("$TOKEN_ID", names.get("TOKEN_ID", "")) for word in shlex.split(example)]
    words = [word.replace("$ID", names.get("ID", "")) for word in words]
    assert words[0] == "rescind"
    stdin = target = None
    if "<" in words:
        place = words.index("<")
        stdin, words = Path(words[place + 1]).read_text(), words[:place]
    if ">" in words:
        place = words.index(">")
        target, words = Path(words[place + 1]), words[:place]
    ended = CliRunner().invoke(
        rescind,
        words[1:],
        input=stdin,
        prog_name="rescind",
        env={"RESCIND_DATA": names["RESCIND_DATA"]},
        standalone_mode=True,
    )
    assert ended.exit_code == 0, (example, ended.output, ended.exception)
    if target is not None:
        target.write_text(ended.stdout)
    return ended.stdout


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in SUPERSEDED])
def test_an_example_does_what_it_says(names: dict[str, str], name: str) -> None:
    if name == "tokens rotate":
        run(f"rescind lift {names['ID']}", names)
    for example in EXAMPLES[name]:
        run(example, names)
