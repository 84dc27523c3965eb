"""What a subscription may keep that was not handled yet is bounded."""

from typing import Any

from rescind_runtime.net import nats_connection


class Client:
    """A client of NATS that remembers how it was asked to subscribe."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    async def subscribe(self, subject: str, **options: Any) -> None:
        self.options = options


async def test_a_subscription_keeps_so_many_messages_and_bytes() -> None:
    client: Any = Client()

    async def handle(_message: object) -> None:
        """Nothing comes."""

    await nats_connection.subscribe(client, "rescind.v1.events", handle)
    bounds = (client.options["pending_msgs_limit"], client.options["pending_bytes_limit"])
    assert bounds == (65_536, 64 << 20)
