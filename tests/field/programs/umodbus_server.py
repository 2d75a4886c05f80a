"""uModbus's server: each register holds its address and one."""
import socketserver

from umodbus.server.tcp import RequestHandler, get_server

with get_server(socketserver.TCPServer, ("127.0.0.1", 0), RequestHandler) as server:
    @server.route(slave_ids=[1], function_codes=[3], addresses=list(range(1000)))
    def read(slave_id, function_code, address):
        return address + 1

    server.serve_forever()
