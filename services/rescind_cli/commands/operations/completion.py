"""`rescind completion`: the script with which a shell completes the commands."""

import click
from click.shell_completion import get_completion_class

from rescind.errors import RescindError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell.

    bash: add `eval "$(rescind completion bash)"` to ~/.bashrc; zsh: the same with zsh to ~/.zshrc;
    fish: run `rescind completion fish > ~/.config/fish/completions/rescind.fish`
    """
    made = get_completion_class(shell)
    if made is None:
        raise RescindError(f"there is no completion for {shell}")
    # .source() of the bash class runs bash to read its version; the template needs no shell.
    script = made(context.find_root().command, {}, "rescind", "_RESCIND_COMPLETE")
    click.echo(script.source_template % script.source_vars())
