"""An echo over TCP, UDP and a Unix socket, with locks, a queue and a server of one's own."""

import queue
import socketserver
import threading
from typing import Any


class Line(socketserver.StreamRequestHandler):
    timeout = 10

    def setup(self) -> None:
        super().setup()
        self.count = 0

    def handle(self) -> None:
        while line := self.rfile.readline(1024):
            self.count += 1
            self.wfile.write(line.upper())
        assert isinstance(self.server, Counting)
        self.server.note(self.client_address[0], self.count)


class Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data.upper(), self.client_address)


class Packet(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


class Counting(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.seen: queue.Queue[tuple[str, int]] = queue.Queue()
        super().__init__(address, Line)

    def note(self, client: str, lines: int) -> None:
        self.seen.put((client, lines))

    def handle_error(self, request: Any, client_address: Any) -> None:
        print("error of", client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        super().service_actions()


class Unix(socketserver.ThreadingUnixStreamServer):
    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()
        return request, ("local", 0)


def main() -> None:
    with (
        Counting(("localhost", 0)) as server,
        socketserver.UDPServer(("localhost", 0), Datagram) as datagrams,
        socketserver.ThreadingUDPServer(("localhost", 0), Packet) as packets,
        Unix("/tmp/echo", Line) as unix,
    ):
        everything: list[socketserver.BaseServer] = [server, datagrams, packets, unix]
        threads = [threading.Thread(target=each.serve_forever, args=(0.1,)) for each in everything]
        for thread in threads:
            thread.start()
        print(server.server_address[1], server.socket.getsockname(), datagrams.max_packet_size)
        for each in everything:
            each.shutdown()


if __name__ == "__main__":
    main()
