"""The files of a release, as `.ci/build` makes it, and the releases that the locks name."""

import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = {"all": ROOT / "deploy" / "requirements.txt", "dev": ROOT / ".ci" / "requirements.txt"}
"""Each lock, and the extra that it belongs to."""


def build(root: Path, folder: Path) -> Path:
    """Build the checkout at `root` into `folder`, and return the folder."""
    scripts = Path(sys.executable).parent
    run = subprocess.run(
        [root / ".ci" / "build", folder],
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def locked(path: Path) -> dict[str, tuple[Version, list[str]]]:
    """Return the release of each package of a lock, and the hashes of its files."""
    lines = re.sub(r"\\\n\s*", "", path.read_text())
    found: dict[str, tuple[Version, list[str]]] = {}
    for line in lines.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, release = line.partition(" ")[0].partition("==")
        found[canonicalize_name(name)] = Version(release), re.findall(r"--hash=(\S+)", line)
    return found
