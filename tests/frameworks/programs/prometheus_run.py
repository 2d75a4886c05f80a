"""prometheus_client's exporter, in a thread as it starts it; what /server tells is a metric's label here."""
import json

import contract
from prometheus_client import Counter, Info, start_http_server

server, thread = start_http_server(0, "127.0.0.1")
Counter("asked", "A counter", ["path"]).labels("/hello").inc(3)
Info("server", "What serves").info({"told": json.dumps(contract.servers())})
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
thread.join()
