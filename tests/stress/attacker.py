"""Many connections that do as little as they can, in a process of its own (see processes.py).

One thread and one epoll hold them all. Answers: when all are connected, how many are, how many failed, the seconds
that took and when it was; to `stop`, how the connections have ended. The options are in main(), the kinds in attack().

The addresses are 127.0.0.x, so that there are ports for any number.
"""
import collections
import dataclasses
import errno
import heapq
import json
import random
import select
import socket
import sys
import time

from . import processes

#: Connections from one address, and connection attempts under way at a time.
FROM_ONE_ADDRESS = 4000
UNDER_WAY = 200


@dataclasses.dataclass
class Attack:
    """What a connection sends at first and then, an octet (or `repeat`) every `pace` seconds; what it reads then."""
    first: bytes
    repeat: bytes = b""
    reads: int = 0              # octets every `pace` seconds; -1: all, at once
    room: int = 0               # octets the kernel takes for it, 0: as usual


def get(path):
    return b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path


def attack(name):
    """The Attack of a name of attacks.py: slow-head, slow-body, idle, kept, or slow-read-HOW-SIZE."""
    if name == "slow-head":
        return Attack(b"GET /plain-/1/13 HTTP/1.1\r\nHost: h\r\nX-Filler: ", b"f", reads=-1)
    if name == "slow-body":
        return Attack(b"POST /body-read/1/0 HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n", b"b", reads=-1)
    if name == "slow-long-body":
        return Attack(b"POST /body-read/1/0 HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", b"b", reads=-1)
    if name == "idle":
        return Attack(b"", reads=-1)
    if name == "kept":
        return Attack(get(b"/plain-/1/13"), reads=-1)
    _, _, how, size = name.split("-")
    return Attack(get(b"/%b-/1/%b" % (how.encode(), size.encode())), reads=1, room=2048)


class Attacker:

    def __init__(self, address, kind, count, pace, again):
        self.address = tuple(address)
        self.kind = attack(kind)
        self.count = count
        self.pace = pace
        self.again = again      # whether an ended connection is replaced by another
        self.poll = select.epoll()
        self.socks = {}         # descriptor: socket
        self.opening = set()
        self.begun = 0
        self.failed = 0
        self.connected = 0
        self.endings = collections.Counter()
        self.heads = {}         # descriptor: first octets that came
        self.due = []           # (when, descriptor, socket's number)

    # ---- connections

    def open(self):
        """Begin connections, a few at a time."""
        while len(self.opening) < UNDER_WAY and (self.begun < self.count or self.again and len(self.socks) < self.count):
            try:
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError:
                self.failed += 1
                self.begun += 1
                continue
            if self.kind.room:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.kind.room)
            if self.count > FROM_ONE_ADDRESS:
                sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
                sock.bind((f"127.0.0.{2 + self.begun // FROM_ONE_ADDRESS % 200}", 0))
            self.begun += 1
            fd = sock.fileno()
            self.socks[fd] = sock
            if sock.connect_ex(self.address) not in (0, errno.EINPROGRESS):
                self.failed += 1
                self.close(fd)
                continue
            self.opening.add(fd)
            self.poll.register(fd, select.EPOLLOUT)

    def opened(self, fd):
        self.opening.discard(fd)
        sock = self.socks[fd]
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.failed += 1
            return self.close(fd)
        self.connected += 1
        if self.kind.first:
            sock.send(self.kind.first)
        self.poll.modify(fd, select.EPOLLRDHUP | (select.EPOLLIN if self.kind.reads < 0 else 0))
        if self.kind.repeat or self.kind.reads > 0:
            heapq.heappush(self.due, (time.monotonic() + self.pace * random.uniform(0.5, 1), fd, id(sock)))

    def close(self, fd):
        self.socks.pop(fd).close()
        self.heads.pop(fd, None)

    def ended(self, fd, how):
        head = self.heads.get(fd, b"")
        self.endings[f"{head[9:12].decode('latin-1')} {how}".strip() if head else how] += 1
        self.close(fd)

    # ---- what they do

    def ready(self, fd, events):
        if fd in self.opening:
            return self.opened(fd)
        if events & select.EPOLLERR:
            return self.ended(fd, "reset")
        if events & select.EPOLLIN:
            return self.read(fd, 1 << 16)
        if events & (select.EPOLLHUP | select.EPOLLRDHUP):
            self.ended(fd, "closed")

    def read(self, fd, most):
        try:
            data = self.socks[fd].recv(most)
        except BlockingIOError:
            return
        except ConnectionError:
            return self.ended(fd, "reset")
        if not data:
            return self.ended(fd, "closed")
        if len(self.heads.get(fd, b"")) < 12:
            self.heads[fd] = (self.heads.get(fd, b"") + data)[:12]

    def again_due(self, now):
        """What is to be done every `pace` seconds."""
        while self.due and self.due[0][0] <= now:
            _, fd, number = heapq.heappop(self.due)
            sock = self.socks.get(fd)
            if sock is None or id(sock) != number:
                continue
            try:
                if self.kind.repeat:
                    sock.send(self.kind.repeat)
            except BlockingIOError:
                pass
            except ConnectionError:
                self.ended(fd, "reset")
                continue
            if self.kind.reads > 0:
                self.read(fd, self.kind.reads)
            if fd in self.socks:
                heapq.heappush(self.due, (now + self.pace, fd, number))

    def state(self):
        return {"connected": self.connected, "failed": self.failed, "open": len(self.socks) - len(self.opening),
                "endings": dict(self.endings)}

    def run(self):
        began, said = time.monotonic(), False
        self.poll.register(sys.stdin.fileno(), select.EPOLLIN)
        while True:
            self.open()
            now = time.monotonic()
            if not said and self.connected + self.failed >= self.count:
                said = True
                processes.say(**self.state(), seconds=now - began, at=now)
            timeout = min(0.5, self.due[0][0] - now) if self.due else 0.5
            for fd, events in self.poll.poll(max(0.0, timeout)):
                if fd == sys.stdin.fileno():
                    sys.stdin.readline()
                    return
                elif fd in self.socks:
                    self.ready(fd, events)
            self.again_due(time.monotonic())


def main():
    """Options: address, kind, count, pace (seconds), again (whether ended connections are replaced)."""
    options = json.loads(sys.argv[1])
    processes.raise_limit()
    processes.say(ready=True)
    attacker = Attacker(**options)
    attacker.run()
    state = attacker.state()
    for fd in list(attacker.socks):
        attacker.close(fd)
    processes.say(**state)


if __name__ == "__main__":
    main()
