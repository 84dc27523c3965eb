"""The order in which a sidecar stops (design 7).

A release lets every receipt count the instance out at once. So it is sent only when no workload can
get an answer from the instance any more: not over the socket or HTTP, and not from its table. If a
step fails or is cancelled, the later ones are not taken: without a release the leases lapse.
"""

from contextlib import AsyncExitStack

from rescind_sidecar.ports import Tables
from rescind_sidecar.usecases.lease.renew import Renew
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports


async def shut_down(
    serving: AsyncExitStack, *, tables: Tables, renew: Renew, uses: UsageReports
) -> None:
    """Stop answering, end the leases, release the instance, report uses: in this order.

    `serving` holds what answers workloads: the socket's server and the HTTP workers. The report is
    last because no receipt waits for it.
    """
    await serving.aclose()
    tables.retire()
    await renew.release()
    await uses.report()
