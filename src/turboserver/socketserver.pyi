# Types of the classes that are ours. What is the original's is typeshed's, by the bases, which are those of run time
# in their order: so a class is both, and what fits the original fits here. No member stands here that the original
# has with the same type.
#
# An attribute that a server is asked for is one of objects too; what is asked of a handler's class alone is ClassVar.

import socketserver as _original
import sys
from typing import ClassVar

from turboserver._stream import RequestReader as RequestReader, ResponseWriter as ResponseWriter

__all__ = [
    "BaseServer",
    "TCPServer",
    "UDPServer",
    "ThreadingUDPServer",
    "ThreadingTCPServer",
    "BaseRequestHandler",
    "StreamRequestHandler",
    "DatagramRequestHandler",
    "ThreadingMixIn",
]
if sys.platform != "win32":
    __all__ += [
        "ForkingMixIn",
        "ForkingTCPServer",
        "ForkingUDPServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
        "UnixDatagramServer",
        "UnixStreamServer",
    ]
    if sys.version_info >= (3, 12):
        __all__ += ["ForkingUnixStreamServer", "ForkingUnixDatagramServer"]

class BaseServer(_original.BaseServer):
    turbo_shutdown_timeout: float | None

class TCPServer(BaseServer, _original.TCPServer):
    turbo_handshake_timeout: float | None
    turbo_max_connections: int | None
    turbo_max_connections_per_address: int | None

class UDPServer(TCPServer, _original.UDPServer): ...

class ThreadingMixIn(_original.ThreadingMixIn):
    turbo_max_threads: int

class BaseRequestHandler(_original.BaseRequestHandler): ...

class StreamRequestHandler(BaseRequestHandler, _original.StreamRequestHandler):
    turbo_no_delay: ClassVar[bool]

class DatagramRequestHandler(BaseRequestHandler, _original.DatagramRequestHandler): ...
class ThreadingUDPServer(ThreadingMixIn, _original.ThreadingUDPServer, UDPServer): ...
class ThreadingTCPServer(ThreadingMixIn, _original.ThreadingTCPServer, TCPServer): ...

if sys.platform != "win32":
    class ForkingMixIn(_original.ForkingMixIn): ...
    class ForkingUDPServer(ForkingMixIn, _original.ForkingUDPServer, UDPServer): ...
    class ForkingTCPServer(ForkingMixIn, _original.ForkingTCPServer, TCPServer): ...
    class UnixStreamServer(TCPServer, _original.UnixStreamServer): ...
    class UnixDatagramServer(UDPServer, _original.UnixDatagramServer): ...
    class ThreadingUnixStreamServer(ThreadingMixIn, _original.ThreadingUnixStreamServer, UnixStreamServer): ...
    class ThreadingUnixDatagramServer(ThreadingMixIn, _original.ThreadingUnixDatagramServer, UnixDatagramServer): ...
    if sys.version_info >= (3, 12):
        class ForkingUnixStreamServer(ForkingMixIn, _original.ForkingUnixStreamServer, UnixStreamServer): ...
        class ForkingUnixDatagramServer(ForkingMixIn, _original.ForkingUnixDatagramServer, UnixDatagramServer): ...
