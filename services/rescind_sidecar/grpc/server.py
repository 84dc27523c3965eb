"""The gRPC server of a worker. Created after the process began: grpcio does not survive a fork."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
import structlog

from rescind.client.tls import TlsError, TlsFiles
from rescind_runtime.net.listen import AddressError
from rescind_sidecar.grpc import ext_authz, health
from rescind_sidecar.grpc.protobuf import MalformedProtobufError

MAX_REQUEST_BYTES = 1 << 20
MAX_CONCURRENT = 1_024
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # two sidecars must never share an address unnoticed
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT),
    ("grpc.max_metadata_size", 16_384),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 75_000),
)

Answer = Callable[[bytes], Awaitable[bytes]]
Context = grpc.aio.ServicerContext[bytes, bytes]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@asynccontextmanager
async def serving(
    check: Answer, address: str, *, files: TlsFiles, finish_s: float
) -> AsyncGenerator[None]:
    """Serve Check and the health service at an address for the block.

    After the block, calls have `finish_s` seconds to end. Raises AddressError and TlsError.
    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CONCURRENT)
    server.add_generic_rpc_handlers(
        (_handle(*ext_authz.METHOD, _to_handler(check)), _handle(*health.METHOD, _check_health))
    )
    try:
        if files:
            server.add_secure_port(address, _build_credentials(files))
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        raise AddressError(
            f"cannot listen at {address}. Another process may have it: choose another address with "
            "RESCIND_GRPC"
        ) from None
    await server.start()
    try:
        yield
    finally:
        await server.stop(finish_s)


def _handle(
    service: str, method: str, behavior: Callable[[bytes, Context], Awaitable[bytes]]
) -> grpc.GenericRpcHandler:
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behavior)
    return grpc.method_handlers_generic_handler(service, {method: handler})


def _to_handler(answer: Answer) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(message: bytes, _: Context) -> bytes:
        return await answer(message)

    return handle


async def _check_health(message: bytes, context: Context) -> bytes:
    try:
        return health.check(message)
    except MalformedProtobufError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
    except health.UnknownServiceError:
        await context.abort(grpc.StatusCode.NOT_FOUND, "not a service of this server")


def _build_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials whose files are read again after they changed. Raises TlsError."""
    current = _Certificate(files)
    # The types lack the None, which means that nothing changed.
    fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", current.reload_if_changed)
    return grpc.dynamic_ssl_server_credentials(current.configuration, fetcher, files.ca is not None)


class _Certificate:
    """The certificate for new connections."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamps = self._read_stamps()
        self.configuration = self._load()

    def reload_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the configuration from changed files, or None to keep the former one.

        gRPC calls this at the beginning of each connection.
        """
        stamps = self._read_stamps()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            configuration = self._load()
        except (TlsError, OSError) as error:
            _log.error(
                "the new certificate was not taken; the one before is still in use",
                action="grpc.certificate_refused",
                why=str(error),
            )
            return None
        _log.info("the certificate changed", action="grpc.certificate_renewed")
        return configuration

    def _load(self) -> grpc.ServerCertificateConfiguration:
        self._files.server()  # grpcio describes no problem of a file
        cert, key, ca = self._files.cert, self._files.key, self._files.ca
        if cert is None:
            raise TlsError(f"{self._files.variable('cert')} is not set")
        pair = ((key or cert).read_bytes(), cert.read_bytes())
        return grpc.ssl_server_certificate_configuration(
            [pair], None if ca is None else ca.read_bytes()
        )

    def _read_stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, (self._files.ca, self._files.cert, self._files.key)))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
