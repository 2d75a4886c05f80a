"""CONTRACT, "Servers": hooks on the way of a connection, overridden.

get_request, process_request, finish_request, close_request, shutdown_request, verify_request, handle_error,
handle_timeout, service_actions.  Sockets and serving loops are in the other test_contract_servers_*.py files.
"""
import concurrent.futures
import queue
import socket
import sys
import threading

import pytest

from support import DEADLINE, Client, connect, exchange, fetch, read_until_eof, respond, serving, wait_until

GET = b"GET / HTTP/1.0\r\n\r\n"


def http_handler(backend):
    class Handler(backend.http_server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            respond(self, repr(self.client_address).encode())

        def do_FAIL(self):
            raise ZeroDivisionError("on purpose")

    return Handler


@pytest.fixture(params=("HTTPServer", "ThreadingHTTPServer"))
def server_class(backend, request):
    return getattr(backend.http_server, request.param)


class TestGetRequest:
    """get_request may return any client address (nested tuples too); count, time out, or feed a thread pool."""

    @pytest.mark.parametrize("address", (
        (("10.0.0.1", 5), ("10.0.0.2", 6)), ("only host",), ("h", 1, "more", None), ["l", 1]))
    def test_any_client_address(self, backend, server_class, address):
        class Server(server_class):
            def get_request(self):
                request, unused = super().get_request()
                return request, address

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            with Client(server) as client:
                assert client.request().body == repr(address).encode()
                assert client.request().body == repr(address).encode()

    @pytest.mark.parametrize("address", ("", None, "text"))
    def test_client_address_without_index(self, backend, server_class, address):
        class Server(server_class):
            def get_request(self):
                return super().get_request()[0], address

        class Handler(http_handler(backend)):
            def address_string(self):
                return "somewhere"

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).body == repr(address).encode()

    def test_used_to_count(self, backend, server_class):
        class Server(server_class):
            count = 0

            def get_request(self):
                self.count += 1
                return super().get_request()

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            for unused in range(3):
                with Client(server) as client:
                    client.request()
                    client.request()
            assert server.count == 3

    def test_used_to_time_out(self, backend, server_class, capsys):
        class Server(server_class):
            def get_request(self):
                request, address = super().get_request()
                request.settimeout(0.1)
                return request, address

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            with connect(server) as sock:
                assert read_until_eof(sock) == b"", "closed without a word"
            with Client(server) as client:
                assert client.request().status == 200
                assert client.at_eof(), "also between two requests"
        assert capsys.readouterr().err.count("Request timed out: TimeoutError('timed out')") == 2

    def test_used_to_feed_a_pool(self, backend):
        """The connection is put aside, and the server told that there is none (OSError)."""
        class Server(backend.http_server.ThreadingHTTPServer):
            def __init__(self, *args):
                self.accepted = queue.Queue()
                super().__init__(*args)

            def get_request(self):
                self.accepted.put(super().get_request())
                raise OSError("taken by the pool")

        def worker(server):
            for request, address in iter(server.accepted.get, None):
                server.process_request_thread(request, address)

        server = Server(("127.0.0.1", 0), http_handler(backend))
        pool = [threading.Thread(target=worker, args=(server,)) for unused in range(2)]
        for thread in pool:
            thread.start()
        with serving(server):
            for unused in range(5):
                assert fetch(server).status == 200
        for thread in pool:
            server.accepted.put(None)
        for thread in pool:
            thread.join(DEADLINE)

    def test_oserror_is_passed_over(self, backend, server_class, capsys):
        class Server(server_class):
            refusals = 2

            def get_request(self):
                request, address = super().get_request()
                if self.refusals:
                    self.refusals -= 1
                    request.close()
                    raise OSError("not now")
                return request, address

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            assert exchange(server, b"") == exchange(server, b"") == b""
            assert fetch(server).status == 200
        assert "not now" not in capsys.readouterr().err

    def test_made_up_request(self, backend):
        """A request that is no connection of the listening socket."""
        ours, theirs = socket.socketpair()

        class Server(backend.http_server.HTTPServer):
            def get_request(self):
                super().get_request()[0].close()
                return ours, ("pair", 0)

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server, theirs:
            exchange(server, b"")
            theirs.sendall(GET)
            assert b"('pair', 0)" in read_until_eof(theirs)


class TestProcessRequest:
    """process_request submits to an executor; process_request_thread is an instance attribute, or queued."""

    def test_submitted_to_an_executor(self, backend):
        with concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="pool") as pool:
            class Server(backend.http_server.ThreadingHTTPServer):
                def process_request(self, request, client_address):
                    pool.submit(self.process_request_thread, request, client_address)

            class Handler(backend.http_server.BaseHTTPRequestHandler):
                def do_GET(self):
                    respond(self, threading.current_thread().name.encode())

            with serving(Server(("127.0.0.1", 0), Handler)) as server:
                for unused in range(5):
                    assert fetch(server).body.startswith(b"pool")

    def test_executor_on_a_server_without_the_mixin(self, backend):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            class Server(backend.http_server.HTTPServer):
                def process_request(self, request, client_address):
                    pool.submit(self.work, request, client_address)

                def work(self, request, client_address):
                    try:
                        self.finish_request(request, client_address)
                    except Exception:
                        self.handle_error(request, client_address)
                    finally:
                        self.shutdown_request(request)

            with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
                with Client(server) as first, Client(server) as second:
                    for unused in range(3):
                        assert first.request().status == second.request().status == 200

    def test_process_request_thread_as_an_instance_attribute(self, backend):
        server = backend.http_server.ThreadingHTTPServer(("127.0.0.1", 0), http_handler(backend))
        calls = []

        def process(request, client_address):
            calls.append((isinstance(request, socket.socket), threading.current_thread().name))
            type(server).process_request_thread(server, request, client_address)

        server.process_request_thread = process
        with serving(server):
            assert fetch(server).status == 200
        assert len(calls) == 1 and calls[0][0] and calls[0][1] != "serve_forever"

    def test_process_request_thread_queued_and_run_elsewhere(self, backend):
        class Server(backend.http_server.ThreadingHTTPServer):
            waiting = queue.Queue()

            def process_request(self, request, client_address):
                self.waiting.put((request, client_address))

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            with connect(server) as sock:
                sock.sendall(GET)
                server.process_request_thread(*server.waiting.get(timeout=DEADLINE))
                assert b" 200 OK\r\n" in read_until_eof(sock)

    def test_process_request_thread_overridden(self, backend):
        order = []

        class Server(backend.http_server.ThreadingHTTPServer):
            def process_request_thread(self, request, client_address):
                order.append("before")
                super().process_request_thread(request, client_address)
                order.append("after")

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            exchange(server, GET)
            wait_until(lambda: len(order) == 2)
        assert order == ["before", "after"]

    def test_request_is_never_closed(self, backend):
        """process_request may never close the request: the socket outlives the handler."""
        kept = []

        class Server(backend.socketserver.TCPServer):
            def process_request(self, request, client_address):
                self.finish_request(request, client_address)

        class Handler(backend.socketserver.StreamRequestHandler):
            def handle(self):
                kept.append(self.request)
                self.wfile.write(b"hello ")

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            with connect(server) as sock:
                assert sock.recv(6, socket.MSG_WAITALL) == b"hello "
                kept[0].sendall(b"again")
                assert sock.recv(5, socket.MSG_WAITALL) == b"again"
                kept[0].close()
                assert read_until_eof(sock) == b""


class TestFinishRequest:
    """finish_request may return a value."""

    def test_returns_a_value_to_an_overridden_process_request(self, backend):
        results = []

        class Server(backend.http_server.HTTPServer):
            def finish_request(self, request, client_address):
                self.RequestHandlerClass(request, client_address, self)
                return "finished"

            def process_request(self, request, client_address):
                results.append(self.finish_request(request, client_address))
                self.shutdown_request(request)

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            exchange(server, GET)
        assert results == ["finished"]

    def test_hands_further_arguments_to_the_handler(self, backend, server_class):
        class Server(server_class):
            def finish_request(self, request, client_address):
                self.RequestHandlerClass(request, client_address, self, directory="/nowhere")

        class Handler(backend.http_server.BaseHTTPRequestHandler):
            def __init__(self, *args, directory):
                self.directory = directory
                super().__init__(*args)

            def do_GET(self):
                respond(self, self.directory.encode())

        with serving(Server(("127.0.0.1", 0), Handler)) as server:
            assert fetch(server).body == b"/nowhere"


class TestClosing:
    """close_request and shutdown_request are overridden."""

    def test_each_is_called_once_a_connection(self, backend, server_class):
        calls = []

        class Server(server_class):
            def shutdown_request(self, request):
                calls.append("shutdown")
                super().shutdown_request(request)

            def close_request(self, request):
                calls.append("close")
                assert isinstance(request, socket.socket)
                super().close_request(request)

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            with Client(server) as client:
                client.request()
                client.request()
            wait_until(lambda: len(calls) == 2)
        assert calls == ["shutdown", "close"]

    def test_shutdown_request_that_drains_first(self, backend, server_class):
        class Server(server_class):
            def shutdown_request(self, request):
                request.sendall(b"bye")
                super().shutdown_request(request)

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            assert exchange(server, GET).endswith(b"bye")

    def test_close_request_that_does_nothing(self, backend):
        kept = []

        class Server(backend.socketserver.ThreadingTCPServer):
            def shutdown_request(self, request):
                kept.append(request)

        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(b"open")

        with serving(Server(("127.0.0.1", 0), Handler)) as server, connect(server) as sock:
            assert sock.recv(4, socket.MSG_WAITALL) == b"open"
            wait_until(lambda: kept)
            kept[0].sendall(b"still")
            assert sock.recv(5, socket.MSG_WAITALL) == b"still"
            kept[0].close()


class TestVerifyRequest:
    """verify_request is overridden."""

    def test_refused_connections_see_no_handler(self, backend, server_class):
        class Server(server_class):
            verified = []

            def verify_request(self, request, client_address):
                self.verified.append((isinstance(request, socket.socket), client_address[0]))
                return len(self.verified) % 2 == 0

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            assert exchange(server, b"") == b""
            assert b" 200 OK\r\n" in exchange(server, GET)
            assert server.verified == [(True, "127.0.0.1")] * 2


class TestHandleError:
    """handle_error is overridden (with a bare `raise`)."""

    def test_called_inside_the_exception(self, backend, server_class):
        seen = []

        class Server(server_class):
            def handle_error(self, request, client_address):
                seen.append((isinstance(request, socket.socket), client_address[0], sys.exc_info()[0]))

        with serving(Server(("127.0.0.1", 0), http_handler(backend))) as server:
            assert exchange(server, b"FAIL / HTTP/1.1\r\nHost: a\r\n\r\n") == b""
            wait_until(lambda: seen)
            assert fetch(server).status == 200
        assert seen == [(True, "127.0.0.1", ZeroDivisionError)]

    def test_bare_raise_leaves_handle_request(self, backend):
        class Server(backend.http_server.HTTPServer):
            def handle_error(self, request, client_address):
                self.failed = request
                raise

        with Server(("127.0.0.1", 0), http_handler(backend)) as server, connect(server) as sock:
            sock.sendall(b"FAIL / HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises(ZeroDivisionError, match="on purpose"):
                server.handle_request()
            server.failed.close()

    def test_bare_raise_leaves_serve_forever(self, backend):
        class Server(backend.http_server.HTTPServer):
            def handle_error(self, request, client_address):
                self.failed = request
                raise

        with Server(("127.0.0.1", 0), http_handler(backend)) as server:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                result = pool.submit(server.serve_forever, 0.02)
                with connect(server) as sock:
                    sock.sendall(b"FAIL / HTTP/1.1\r\nHost: a\r\n\r\n")
                    with pytest.raises(ZeroDivisionError, match="on purpose"):
                        result.result(DEADLINE)
            server.failed.close()
            assert server._BaseServer__is_shut_down.is_set()


class TestHandleTimeout:
    """handle_timeout is overridden (raising to get out)."""

    def test_raises_to_get_out(self, backend, server_class):
        class Enough(Exception):
            pass

        class Server(server_class):
            timeout = 0.05

            def handle_timeout(self):
                raise Enough

        with Server(("127.0.0.1", 0), http_handler(backend)) as server:
            with pytest.raises(Enough):
                while True:
                    server.handle_request()

    def test_return_value_is_handed_back(self, backend, server_class):
        class Server(server_class):
            timeout = 0.05

            def handle_timeout(self):
                return "timed out"

        with Server(("127.0.0.1", 0), http_handler(backend)) as server:
            assert server.handle_request() == "timed out"


class TestServiceActions:
    """service_actions (counted)."""

    def test_called_at_every_poll_interval_while_idle(self, backend, server_class):
        class Server(server_class):
            count = 0

            def service_actions(self):
                assert threading.current_thread().name == "serve_forever"
                self.count += 1

        with serving(Server(("127.0.0.1", 0), http_handler(backend)), poll_interval=0.01) as server:
            wait_until(lambda: server.count >= 5)
            assert fetch(server).status == 200
            before = server.count
            wait_until(lambda: server.count > before)

    def test_called_after_each_connection_even_with_a_long_interval(self, backend, server_class):
        class Server(server_class):
            count = 0

            def service_actions(self):
                self.count += 1

        server = Server(("127.0.0.1", 0), http_handler(backend))
        with serving(server, poll_interval=1):
            for number in (1, 2, 3):
                exchange(server, GET)
                wait_until(lambda: server.count >= number)

    def test_ends_the_loop(self, backend):
        class Server(backend.http_server.HTTPServer):
            def service_actions(self):
                raise StopIteration

        with Server(("127.0.0.1", 0), http_handler(backend)) as server:
            with pytest.raises(StopIteration):
                server.serve_forever(0.02)


class TestBlockOnClose:
    """block_on_close = False is common."""

    @pytest.mark.parametrize("block", (True, False))
    def test_server_close_while_a_handler_runs(self, backend, block):
        entered, leave = threading.Event(), threading.Event()

        class Handler(backend.socketserver.BaseRequestHandler):
            def handle(self):
                entered.set()
                leave.wait(DEADLINE)

        class Server(backend.socketserver.ThreadingTCPServer):
            block_on_close = block

        server = Server(("127.0.0.1", 0), Handler)
        serving_thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        serving_thread.start()
        with connect(server):
            assert entered.wait(DEADLINE)
            server.shutdown()
            serving_thread.join(DEADLINE)
            closer = threading.Thread(target=server.server_close)
            closer.start()
            closer.join(0.1 if block else DEADLINE)
            assert closer.is_alive() is block
            leave.set()
            closer.join(DEADLINE)
            assert not closer.is_alive()
