"""A sidecar on its own host: the one of DISTANT_SERVICE runs in the namespace DISTANT_HOST.

python -m tests.support.distant_sidecar
"""

import os
import runpy

from tests.support import namespaces

if __name__ == "__main__":
    if os.environ["RESCIND_SERVICE"] == os.environ["DISTANT_SERVICE"]:
        namespaces.enter(os.environ["DISTANT_HOST"])
    runpy.run_module("rescind_sidecar", run_name="__main__")
