"""Command line of the test servers; every port may be given any number of times.

python -m e2e.apps --workload server --version v1 --http 8080 --grpc 9090 --tcp 9000 --greeting 9001 --https 8443
"""

import argparse
import asyncio
import signal

from e2e.apps import http1, tcp
from e2e.apps.either import EitherProtocol
from e2e.apps.http2 import Http2Protocol
from e2e.apps.requests import Workload

ANY = None  # every address, in a pod's namespace, where the rules of capture lead to Envoy


async def serve(arguments: argparse.Namespace) -> None:
    """Listen on all ports until the process is ended."""
    loop = asyncio.get_running_loop()
    workload = Workload(arguments.workload, arguments.version)
    plain = http1.server(workload)

    def http() -> EitherProtocol:
        return EitherProtocol(plain, lambda: Http2Protocol(workload))

    context = None
    if arguments.https:
        from e2e.apps import tls

        context = tls.server_context(arguments.workload)
    listening = [
        *((http, port, None) for port in arguments.http),
        *((http, port, context) for port in arguments.https),
        *((tcp.EchoProtocol, port, None) for port in arguments.tcp),
        *((lambda: tcp.GreetingProtocol(workload), port, None) for port in arguments.greeting),
    ]
    servers: list[object] = [
        await loop.create_server(protocol, ANY, port, ssl=context) for protocol, port, context in listening
    ]
    if arguments.grpc:
        from e2e.apps import grpc  # a third of a second that most pods need not spend

        servers += [await grpc.serve(workload, port) for port in arguments.grpc]
    await asyncio.Event().wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m e2e.apps", description="test servers")
    parser.add_argument("--workload", default="server")
    parser.add_argument("--version", default="v1")
    for name, text in {
        "http": "HTTP/1.1, HTTP/2 with prior knowledge, WebSocket",
        "https": "the same behind TLS of its own",
        "grpc": "gRPC",
        "tcp": "TCP echo; the client speaks first",
        "greeting": "TCP; the server speaks first",
    }.items():
        parser.add_argument(f"--{name}", type=int, action="append", default=[], metavar="PORT", help=text)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
