"""What goes wrong in a verb of the authority stands behind the command that a person typed."""

import click

from rescind_authority import __main__ as authority
from rescind_cli.__main__ import rescind

SERVING = {"serve", "migrate-and-serve"}


def test_each_verb_has_the_name_of_its_command() -> None:
    assert authority._VERBS.keys() - SERVING - {"migrate"} == authority._COMMAND_NAMES.keys()
    for spoken in authority._COMMAND_NAMES.values():
        command: click.Command = rescind
        words = spoken.split()
        with click.Context(command) as context:
            while words and isinstance(command, click.Group):
                found = command.get_command(context, words[0])
                assert found is not None, spoken
                command = found
                words.pop(0)
        # What is left is an argument: a kind of key.
        kinds = [each.type for each in command.params if isinstance(each, click.Argument)]
        assert all(words[0] in getattr(kind, "choices", words) for kind in kinds if words), spoken
