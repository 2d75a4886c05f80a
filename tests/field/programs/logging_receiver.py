"""Receives what logging.handlers.SocketHandler sends, and logs it into received.log."""
import logging
import pickle
import socketserver
import struct


class Receiver(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.connection.recv(4)
            if len(head) < 4:
                return
            size, = struct.unpack(">L", head)
            octets = self.connection.recv(size)
            while len(octets) < size:
                octets += self.connection.recv(size - len(octets))
            record = logging.makeLogRecord(pickle.loads(octets))
            logging.getLogger(record.name).handle(record)


logging.basicConfig(filename="received.log", format="%(name)s %(levelname)s %(message)s")
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Receiver) as server:
    server.serve_forever()
