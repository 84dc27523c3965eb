"""A probe of whether an authority and its Postgres answer over a transport."""

from rescind.core.token_format import HASH_BYTES
from rescind.errors import UnreachableError
from rescind.wire.lookups import LookupRequest
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.transport import Transport
from rescind_sidecar.ports import RandomSource
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstances


class Probe:
    """Send a look-up of an impossible token, as an enrolled instance.

    An authority does not answer other senders.
    """

    def __init__(
        self, instances: SidecarInstances, random_source: RandomSource, tally: Counters
    ) -> None:
        self._instances = instances
        self._random = random_source
        self._tally = tally

    async def __call__(self, transport: Transport) -> None:
        """Send a probe over this transport. Raises UnreachableError."""
        credentials = self._instances.current.credentials
        if credentials is None:
            raise UnreachableError("this instance is not enrolled yet")
        request = LookupRequest(bytes(HASH_BYTES), self._random.identity())
        await AuthorityClient(transport, self._tally).look_up(request, credentials)
