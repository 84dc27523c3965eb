"""A gRPC server whose calls need a token: python app.py 127.0.0.1:50051."""

import asyncio
import sys

import grpc.aio

from rescind.integrations.grpc import RECORD, RescindInterceptor

METHODS = {
    "/search.Search/Find": {"search:read"},
    "/search.Search/Watch": {"search:read"},
    "/search.Search/Administer": {"admin:write"},
}


async def find(request, context):
    return RECORD.get().subject.encode()


async def watch(request, context):
    while True:
        yield RECORD.get().subject.encode()
        await asyncio.sleep(30)


async def main():
    interceptor = RescindInterceptor(methods=METHODS)
    server = grpc.aio.server(interceptors=[interceptor])
    # Where protoc wrote your service: add_SearchServicer_to_server(Search(), server).
    handlers = {
        "Find": grpc.unary_unary_rpc_method_handler(find),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Administer": grpc.unary_unary_rpc_method_handler(find),
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("search.Search", handlers)]
    )
    server.add_insecure_port(sys.argv[1])
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
