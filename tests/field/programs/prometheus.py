"""prometheus_client's exporter as its documentation starts it; with a certificate, by TLS."""
import sys

from prometheus_client import Counter, start_http_server

secure = {"certfile": sys.argv[1], "keyfile": sys.argv[1]} if sys.argv[1:] else {}
server, thread = start_http_server(0, "127.0.0.1", **secure)
Counter("asked", "A counter", ["path"]).labels("/hello").inc(3)
thread.join()
