"""`rescind completion`: what a shell needs to complete our commands."""

import click
from click.shell_completion import get_completion_class

from rescind.errors import RescindError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell.

    bash: `eval "$(rescind completion bash)"` in ~/.bashrc, and so in ~/.zshrc with zsh; fish:
    `rescind completion fish > ~/.config/fish/completions/rescind.fish`
    """
    made = get_completion_class(shell)
    if made is None:
        raise RescindError(f"there is no completion for {shell}")
    # .source() of the bash class first asks bash for its version; the template needs no shell.
    script = made(context.find_root().command, {}, "rescind", "_RESCIND_COMPLETE")
    click.echo(script.source_template % script.source_vars())
