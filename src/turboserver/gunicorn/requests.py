"""What gunicorn's workers put into environ, and what its hooks and its access log are given.

Job: `wrap()` makes of an application one that sees the same environ as under gunicorn's own
workers; `access_log()` makes what calls gunicorn's log and post_request when an answer has
ended. Each step is there only if the configuration needs it, so that the default costs a look
at one address.

Any thread may be in here; nothing but the caches is shared, and those hold constants.
"""

import datetime
import ipaddress
import os
import urllib.parse

import gunicorn
from gunicorn.glogging import Logger
from gunicorn.http.wsgi import FileWrapper, WSGIErrorsWrapper

from .settings import is_set

# Where a request keeps what the hooks and the log are given, within environ. The first is
# taken out at the end, for it has the environ in turn.
_REQUEST = "turboserver.gunicorn.request"
_FIELDS = "turboserver.gunicorn.fields"

# Names with an underscore that a proxy may send, where forwarder_headers has them.
FORWARDER_NAMES = ("SCRIPT_NAME", "PATH_INFO")

# Addresses whose trust is remembered; then all are forgotten.
_KNOWN_PEERS = 1024


def wrap(app, worker, *, unix):
    """Return a WSGI application that runs `app` (WSGI) with gunicorn's environ, hooks and count.

    worker: a Worker, with cfg, log and count_request(). unix: the listener is a Unix socket.
    """
    cfg = worker.cfg
    steps = []
    if worker.limited:
        steps.append(_counting_step(worker))
    steps.append(forwarded_step(cfg))
    root = os.environ.get("SCRIPT_NAME", "")
    if root or "SCRIPT_NAME" in cfg.forwarder_headers:
        steps.append(root_step(root))
    if unix:
        steps.append(_server_of_host)
    if not cfg.sendfile:
        steps.append(_constant_step("wsgi.file_wrapper", FileWrapper))
    if cfg.errorlog != "-":
        steps.append(_constant_step("wsgi.errors", WSGIErrorsWrapper(cfg)))
    if is_set(cfg, "pre_request"):
        steps.append(_hook_step(worker, cfg.pre_request, access_log(worker) is not None))
    steps = tuple(steps)
    if wants_fields(cfg, worker.log):
        app = _recording(app)

    def application(environ, start_response):
        for step in steps:
            refusal = step(environ)
            if refusal is not None:
                return _refuse(refusal, start_response)
        return app(environ, start_response)

    return application


def _refuse(status, start_response):
    body = status.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


# -- steps: each takes environ, and returns None or the status (str) of a refusal -------

def _counting_step(worker):
    def step(environ):
        worker.count_request()

    return step


def _constant_step(key, value):
    def step(environ):
        environ[key] = value

    return step


def _hook_step(worker, hook, keep):
    """keep: the same request is to be given to the log."""
    def step(environ):
        request = Request(environ)
        if keep:
            environ[_REQUEST] = request
        hook(worker, request)

    return step


def forwarded_step(cfg):
    """The step that believes a proxy, and nobody else: wsgi.url_scheme by secure_scheme_headers,
    SCRIPT_NAME and PATH_INFO as fields if forwarder_headers says so."""
    trusts = trust(cfg.forwarded_allow_ips)
    # A name with an underscore does not reach environ, but for those two.
    expected = [("HTTP_" + name.upper().replace("-", "_"), value)
                for name, value in cfg.secure_scheme_headers.items() if "_" not in name]
    own = tuple("HTTP_" + name for name in FORWARDER_NAMES)
    unwanted = tuple("HTTP_" + name for name in FORWARDER_NAMES if name not in cfg.forwarder_headers)

    def step(environ):
        trusted = trusts(environ["REMOTE_ADDR"])
        for key in unwanted if trusted else own:
            environ.pop(key, None)
        if not trusted:
            return None
        scheme = None
        for key, value in expected:
            if key in environ:
                # Fields of the same name are one here, joined by commas.
                said = "https" if all(part.strip() == value for part in environ[key].split(",")) else "http"
                if scheme not in (None, said):
                    return "400 Bad Request"
                scheme = said
        if scheme is not None:
            environ["wsgi.url_scheme"] = scheme
        return None

    return step


def trust(allowed):
    """A function that says whether an address (str) is a proxy's.

    allowed: list of str, addresses, networks, or "*". A peer without an address has come by a
    Unix socket and is one.
    """
    if "*" in allowed:
        return lambda address: True
    networks = [ipaddress.ip_network(each, strict=False) for each in allowed]
    known = {"": True}

    def trusts(address):
        answer = known.get(address)
        if answer is None:
            try:
                parsed = ipaddress.ip_address(address)
            except ValueError:
                parsed = None
            answer = parsed is not None and any(parsed in network for network in networks)
            if len(known) >= _KNOWN_PEERS:
                known.clear()
            known[address] = answer
        return answer

    return trusts


def _server_of_host(environ):
    """A Unix socket has no name and no port: they are those of Host."""
    host = environ.get("HTTP_HOST", "")
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        name, port = host, "443" if environ["wsgi.url_scheme"] == "https" else "80"
    if host:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port


def root_step(default):
    """The step that takes the application's root from the path: what the field SCRIPT_NAME
    says, or `default` (str, like "/prefix" or "")."""
    def step(environ):
        root = environ.get("HTTP_SCRIPT_NAME", default)
        if root:
            path = environ["PATH_INFO"]
            if not path.startswith(root):
                return "500 Internal Server Error"
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = root, path[len(root):]
        return None

    return step


# -- what goes into gunicorn's logs ----------------------------------------------------

def error_log(worker):
    """What to call as turbo_error_log of the worker's servers."""
    def failed(environ, error):
        worker.log.exception("Error handling request %s", _uri(environ), exc_info=error)

    return failed


def _recording(app):
    """`app` whose response fields are kept for the log."""
    def application(environ, start_response):
        def record(status, fields, exc_info=None):
            write = start_response(status, fields, exc_info)
            environ[_FIELDS] = list(fields)
            return write

        return app(environ, record)

    return application


def wants_access(cfg, log):
    """Whether gunicorn's log is to be called for each answer."""
    if type(log).access is not Logger.access:       # statsd's, or the operator's own
        return True
    return bool(cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json
                or (cfg.syslog and not cfg.disable_redirect_access_to_syslog))


def wants_fields(cfg, log):
    """Whether somebody may look at the fields of an answer."""
    own = type(log).access is not Logger.access and not type(log).__module__.startswith("gunicorn.")
    return is_set(cfg, "post_request") or own or (wants_access(cfg, log) and "}o" in cfg.access_log_format)


def access_log(worker):
    """What to call as turbo_access_log of the worker's servers; None if nobody wants to know."""
    cfg, log = worker.cfg, worker.log
    logs = log.access if wants_access(cfg, log) else None
    post = cfg.post_request if is_set(cfg, "post_request") else None
    if logs is None and post is None:
        return None

    def ended(environ, status, sent, seconds):
        environ.setdefault("RAW_URI", _uri(environ))    # the log asks for these
        environ.setdefault("SERVER_PROTOCOL", "HTTP/1.1")
        request = environ.pop(_REQUEST, None) or Request(environ)   # hooks leave things on it
        response = Response(status, sent, environ.get(_FIELDS, ()))
        if logs is not None:
            logs(response, request, environ, datetime.timedelta(seconds=seconds))
        if post is not None:
            try:
                post(worker, request, environ, response)
            except Exception:
                log.exception("Exception in post_request hook")

    return ended


def _uri(environ):
    """The target as it was sent, or as near as environ tells."""
    for key in ("RAW_URI", "REQUEST_URI"):
        if key in environ:
            return environ[key]
    path = urllib.parse.quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
                              safe="/;:@&=+$,!~*'()", encoding="latin-1")
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


class Request:
    """A request as gunicorn's hooks and loggers look at it.

    method, uri, path, query, scheme (str), version (tuple of two int), headers (list of
    (NAME, value)), peer_addr ((address, port), or "" of a Unix socket), trailers (empty),
    proxy_protocol_info (None). Hooks may set further attributes.
    """

    fragment = ""
    proxy_protocol_info = None
    trailers = ()

    def __init__(self, environ):
        self._environ = environ
        self.method = environ.get("REQUEST_METHOD", "")
        self.uri = _uri(environ)
        self.path = self.uri.partition("?")[0]
        self.query = environ.get("QUERY_STRING", "")
        self.scheme = environ.get("wsgi.url_scheme", "http")
        address = environ.get("REMOTE_ADDR", "")
        self.peer_addr = self.remote_addr = (address, environ.get("REMOTE_PORT", "")) if address else ""

    @property
    def version(self):
        major, _, minor = self._environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2].partition(".")
        return int(major), int(minor or 0)

    @property
    def headers(self):
        fields = [(key[5:].replace("_", "-"), value) for key, value in self._environ.items()
                  if key.startswith("HTTP_")]
        fields.extend((key.replace("_", "-"), self._environ[key])
                      for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if self._environ.get(key))
        return fields


class Response:
    """An answer that has ended, as gunicorn's hooks and loggers look at it.

    status ("200 OK"), status_code (int), sent (octets of the body), headers (list of (name, value)).
    """

    headers_sent = True
    version = gunicorn.SERVER_SOFTWARE

    def __init__(self, status, sent, fields):
        self.status = status
        self.status_code = int(status.split(None, 1)[0])
        self.sent = self.response_length = sent
        self.headers = list(fields)
