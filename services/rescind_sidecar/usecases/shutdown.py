"""The order in which a sidecar stops (design 7).

After a release, no receipt waits for the instance. So it is sent only when no workload can get an
answer from the instance any more: not over the socket, HTTP or gRPC, and not from its table. If a
step fails or is cancelled, the later steps are skipped: without a release, the leases lapse.
"""

from contextlib import AsyncExitStack

from rescind_sidecar.ports import Tables
from rescind_sidecar.usecases.lease.renew import Renew
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports


async def shut_down(
    serving: AsyncExitStack, *, tables: Tables, renew: Renew, uses: UsageReports
) -> None:
    """Stop answering, end the leases, release the instance and report uses, in this order.

    `serving` holds the socket's server and the workers, which answer workloads. The report is
    last because no receipt waits for it.
    """
    await serving.aclose()
    tables.retire()
    await renew.release()
    await uses.report()
