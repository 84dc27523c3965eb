"""How Sphinx builds the site: see .ci/docs."""

import re
import textwrap
from importlib import metadata

from sphinx.application import Sphinx

project = "rescind"
release = metadata.version("rescind")
copyright = "the authors of rescind"  # noqa: A001 - Sphinx names it
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = [".doctrees"]
root_doc = "index"

html_theme = "furo"
html_title = f"rescind {release}"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 6
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True

_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_MARKS = re.compile(r"([*|_\\])")
_SECTION = re.compile(r"(Args|Returns|Yields|Raises):\n(.*)", re.DOTALL)


def as_restructured_text(text: str) -> str:
    """Turn what docstrings write as Markdown into what autodoc reads."""
    parts = _CODE.split(text)
    plain, codes = parts[::3], parts[2::3]
    written = [_MARKS.sub(r"\\\1", part) for part in plain]
    out = written[0]
    for code, rest in zip(codes, written[1:], strict=True):
        out += f"``{code.strip()}``"
        out += rest if re.match(r"[\s.,:;!?)\]'\"-]|$", rest) else "\\ " + rest
    return out


def _blocks(lines: list[str]) -> list[str]:
    """Separate paragraphs, bullets and indented code, as a docstring shows them."""
    written: list[str] = []
    for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        if section := _SECTION.fullmatch(block):
            written += _section(section[1], section[2])
        elif block.startswith("    "):
            written += ["::", "", *block.splitlines()]
        else:
            written += as_restructured_text(
                re.sub(r"^(\s*)[*-] ", r"\1• ", block, flags=re.MULTILINE)
            ).splitlines()
        written.append("")
    return written


def _section(title: str, body: str) -> list[str]:
    """Turn a section of parameters, results or errors into bullets."""
    entries: list[str] = []
    for line in textwrap.dedent(body).splitlines():
        if line.startswith(" "):
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line)
    bullets = [text for entry in entries for text in ("", f"• {as_restructured_text(entry)}")]
    return [f"**{title}**", *bullets]


def _rewrite(
    _app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    lines[:] = _blocks(lines)


def setup(app: Sphinx) -> None:
    """Read docstrings as they are written here."""
    app.connect("autodoc-process-docstring", _rewrite)
