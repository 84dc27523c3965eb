"""`python -m rescind_sidecar`: the sidecar of one service."""

from rescind_runtime import supervise
from rescind_runtime.supervise import Stop
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.wiring.sidecar import Sidecar


async def _main(stop: Stop) -> None:
    await Sidecar(SidecarSettings.load()).run(stop)


if __name__ == "__main__":
    supervise.run(_main, name="sidecar")
