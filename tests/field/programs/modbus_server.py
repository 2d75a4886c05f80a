"""pyModbusTCP's server, with threads."""
from pyModbusTCP.server import ModbusServer

server = ModbusServer("127.0.0.1", 0)
try:
    server.start()
except KeyboardInterrupt:
    server.stop()
