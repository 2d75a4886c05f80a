"""bottle's own way to start on wsgiref."""
import threading
import time

import bottle
from bottle_site import application

adapter = bottle.WSGIRefServer("127.0.0.1", 0)


def tell():
    while not adapter.port:
        time.sleep(0.01)
    print(f"http://127.0.0.1:{adapter.port}/", flush=True)


threading.Thread(target=tell, daemon=True).start()
bottle.run(application, server=adapter)
