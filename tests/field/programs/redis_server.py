"""fakeredis as a server of its own."""
import threading

from fakeredis import TcpFakeServer

server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
thread = threading.Thread(target=server.serve_forever, daemon=True)
thread.start()
try:
    thread.join()
except KeyboardInterrupt:
    server.shutdown()
    server.server_close()
