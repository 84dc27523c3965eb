"""The same server with threads: python threads.py 127.0.0.1:50051."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from rescind.integrations.grpc import RECORD, ThreadRescindInterceptor

METHODS = {
    "/search.Search/Find": {"search:read"},
    "/search.Search/Watch": {"search:read"},
    "/search.Search/Administer": {"admin:write"},
}


def find(request, context):
    return RECORD.get().subject.encode()


def watch(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)  # also when the token is denied
    while not ended.is_set():
        yield RECORD.get().subject.encode()
        ended.wait(30)


def main():
    interceptor = ThreadRescindInterceptor(methods=METHODS)
    server = grpc.server(ThreadPoolExecutor(32), interceptors=[interceptor])
    handlers = {
        "Find": grpc.unary_unary_rpc_method_handler(find),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Administer": grpc.unary_unary_rpc_method_handler(find),
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("search.Search", handlers)]
    )
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
