"""A tunnel by sshtunnel to a server that sends back what it gets; the SSH server at its other end is paramiko's."""
import select
import socket
import threading

import paramiko
import sshtunnel


class Gate(paramiko.ServerInterface):
    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, number):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, number, origin, destination):
        self.destinations[number] = destination
        return paramiko.OPEN_SUCCEEDED


def carry(channel, destination):
    with socket.create_connection(destination) as sock:
        while True:
            ready = select.select([channel, sock], [], [])[0]
            if channel in ready:
                data = channel.recv(1 << 14)
                if not data:
                    break
                sock.sendall(data)
            if sock in ready:
                data = sock.recv(1 << 14)
                if not data:
                    break
                channel.sendall(data)
    channel.close()


def ssh_server(listener, key):
    while True:
        transport = paramiko.Transport(listener.accept()[0])
        transport.add_server_key(key)
        gate = Gate()
        gate.destinations = {}
        transport.start_server(server=gate)
        threading.Thread(target=channels, args=(transport, gate), daemon=True).start()


def channels(transport, gate):
    while transport.is_active():
        channel = transport.accept(1)
        if channel is not None:
            threading.Thread(target=carry, args=(channel, gate.destinations[channel.get_id()]), daemon=True).start()


def echo(listener):
    def back(sock):
        with sock:
            while data := sock.recv(1 << 14):
                sock.sendall(data)

    while True:
        threading.Thread(target=back, args=(listener.accept()[0],), daemon=True).start()


ends = [socket.create_server(("127.0.0.1", 0)) for _ in "12"]
key = paramiko.RSAKey.generate(2048)
threading.Thread(target=ssh_server, args=(ends[0], key), daemon=True).start()
threading.Thread(target=echo, args=(ends[1],), daemon=True).start()
with sshtunnel.SSHTunnelForwarder(
        ends[0].getsockname(), ssh_username="a", ssh_password="b", remote_bind_address=ends[1].getsockname(),
        local_bind_address=("127.0.0.1", 0), allow_agent=False, host_pkey_directories=[], ssh_config_file=None):
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
