"""The file server's handler: who asks, what for, and which module answers.

    handler_class(options)  a FileHandler for options.Options
    FileHandler             SimpleHTTPRequestHandler with all that options can ask for

The order of each request: a preflight of CORS, which never has credentials; who asks (auth.py); the target and what is
open below the root (opening.py); then sending.py or receiving.py. Whatever is wrong is a Refused, and becomes the
standard error page in one place.

The hooks of the original are honoured in a subclass: list_directory, guess_type, copyfile, extensions_map, index_pages
in their places; where translate_path or send_head is another one the original's do_GET answers, for only it asks them,
and what is sent is then the program's own business.

Invariant: nothing here is a hook of the connection, so that lanes.decide() finds the reactor lane.

The handler's thread. What may not live here: anything that can be decided without a handler.
"""

import os

from .. import accelerated
from ..errors import BodyError
from ..http.server import SimpleHTTPRequestHandler, header_names
from .beneath import Refused
from .folder import Query
from .hooks import index_pages, more, overridden
from .opening import Target, open_root, open_target
from .options import Options
from .partials import sweep_at_times
from .receiving import METHODS, receive_file, receive_form, upload_fields
from .sending import LISTS, YIELDING, common_fields, send_as_original, send_empty, send_file, send_folder

__all__ = ["FileHandler", "handler_class"]

_READING = "GET, HEAD"
# Of an upload that is refused: a photograph, or a form with a few, still gets its answer where nobody asked before.
_DRAIN_BYTES = 16 * 2**20
# Fields of a request that a page of another site may send. What uploads is not for it.
_PREFLIGHT = (("Access-Control-Allow-Methods", _READING),
              ("Access-Control-Allow-Headers", "Authorization, If-Match, If-Modified-Since, If-None-Match, If-Range, "
                                               "If-Unmodified-Since, Range"),
              ("Access-Control-Max-Age", "86400"),
              ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"))


class FileHandler(SimpleHTTPRequestHandler):
    """http.server.SimpleHTTPRequestHandler with conditions, ranges, codings, folder pages and uploads.

    turbo_files: Options of the class. directory: as in the original; turbo_files.directory if it is left out.
    What else is ours begins with _turbo_, for the names of a subclass are its own.
    """

    turbo_files = Options()
    turbo_decode_chunked = True     # of a PUT in chunks the file is the content

    _turbo_fields = ()      # for the next head that the original's own code writes
    _turbo_silent_aborts = True

    def __init__(self, *args, directory=None, **kwargs):
        if directory is None:
            directory = self.turbo_files.directory
        super().__init__(*args, directory=directory, **kwargs)

    # ---- Methods ----

    def do_GET(self):
        """A file, a folder, or why not (RFC 9110, 9.3.1)."""
        self._turbo_answer(self._turbo_read)

    def do_HEAD(self):
        """The same without its body (9.3.2). With uploads: how much of one that was cut short is there."""
        self._turbo_answer(self._turbo_read)

    def do_PUT(self):
        """The body becomes a file (9.3.4)."""
        self._turbo_answer(self._turbo_put)

    def do_POST(self):
        """The files of a form go into a folder, if the query is `upload` (9.3.3)."""
        self._turbo_answer(self._turbo_post)

    def do_OPTIONS(self):
        """Which methods there are (9.3.7), and whether a page of another site may read (Fetch Standard, 3.3)."""
        self._turbo_answer(self._turbo_options)

    def _turbo_answer(self, method):
        """Call method(owner) if whoever asks may, and send what is refused."""
        if not hasattr(self.headers, "get_all"):
            # HTTP/0.9, from Python 3.14 on.
            self.headers = self.MessageClass()
        try:
            if self._turbo_is_preflight():
                send_empty(self, 204, _PREFLIGHT)
            else:
                method(self._turbo_user())
        except Refused as refused:
            self._turbo_refuse(refused)
        except BodyError:
            raise
        except ConnectionError:
            # The client went away, as browsers do whenever a film is wound on: nothing to be told.
            self.close_connection = True
        finally:
            vars(self).pop("_turbo_expected", None)

    def _turbo_read(self, owner):
        if overridden(self, "translate_path") or overridden(self, "send_head"):
            self._turbo_read_as_original()
            return
        options, target = self.turbo_files, Target.of(self.path)
        root = self._turbo_root()
        found = upload_fields(self, root, target, owner) if options.upload and self.command == "HEAD" else ()
        try:
            opened = open_target(root, target, index_pages=index_pages(self),
                                 outside=options.outside, spa=options.spa)
        except Refused:
            if not found:
                raise
            # Nothing has the name yet.
            send_empty(self, 204, (*found, ("Cache-Control", "no-store")))
            return
        with opened:
            if not opened.is_folder:
                self._turbo_fields = found
                send_file(self, root, opened)
            elif not target.is_canonical:
                send_empty(self, 301, (("Location", target.canonical + target.query),))
            elif self._turbo_wants_list(target):
                self._turbo_list_as_original(opened)
            else:
                if options.upload:
                    sweep_at_times(opened.fd)       # who left an upload may never come back
                send_folder(self, opened, target)

    def _turbo_put(self, owner):
        if not self.turbo_files.upload:
            self._turbo_unsupported()
        receive_file(self, self._turbo_root(), Target.of(self.path), owner)

    def _turbo_post(self, owner):
        if not self.turbo_files.upload:
            self._turbo_unsupported()
        target = Target.of(self.path)
        if "upload" not in (field.partition("=")[0] for field in target.query[1:].split("&")):
            raise Refused(405, "forms are sent to ?upload", (("Allow", METHODS),))
        receive_form(self, self._turbo_root(), target)

    def _turbo_options(self, owner):
        if not (self.turbo_files.upload or self.turbo_files.cors):
            self._turbo_unsupported()
        send_empty(self, 204, (("Allow", METHODS if self.turbo_files.upload else f"{_READING}, OPTIONS"),))

    def _turbo_unsupported(self):
        # As the original says it of a method that it does not have.
        raise Refused(501, f"Unsupported method ({self.command!r})")

    # ---- 100 Continue ----

    def handle_expect_100(self):
        """As the original, but for what uploads: there 100 waits until nothing is wrong but what the body may bring (RFC
        9110, 10.1.1). What is refused before ends the connection, for nobody knows whether the body comes yet."""
        if self.command not in ("PUT", "POST"):
            return super().handle_expect_100()
        self._turbo_expected = True
        return True

    def _turbo_continue(self):
        """The body is wanted: say so to who waits for that."""
        if "_turbo_expected" in vars(self):
            super().handle_expect_100()

    # ---- Who ----

    def _turbo_is_preflight(self):
        return (self.command == "OPTIONS" and self.turbo_files.cors and "Origin" in self.headers
                and "Access-Control-Request-Method" in self.headers)

    def _turbo_user(self):
        """Who asks, "" where everybody may. Raises Refused: 401, 429."""
        auth = self.turbo_files.auth
        if auth is None:
            return ""
        # A Unix socket's client has no address: all of them are one.
        address = self.client_address[0] if self.client_address else ""
        found = auth.check(self.headers.get("Authorization"), str(address))
        if found.user is None:
            raise Refused(found.status, found.status.phrase, found.headers)
        return found.user

    def _turbo_root(self):
        return open_root(self.directory)

    # ---- The original's hooks, and what it answers itself ----

    def _turbo_wants_list(self, target):
        return (not self.turbo_files.page or overridden(self, "list_directory")
                or Query.of(target.path + target.query).format == "plain")

    def _turbo_list_as_original(self, opened):
        """The original's list, or that of a subclass."""
        path = os.path.join(self.directory, *opened.names, "")
        if not overridden(self, "list_directory"):
            path = opened.path_or(path)
        # What somebody asked for first: of one name only the first is sent.
        self._turbo_fields = [*more(self), *common_fields(self.turbo_files),
                              ("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff")]
        try:
            listed = self.list_directory(path)
        except UnicodeEncodeError:      # of the target, which stands in it
            raise Refused(400, "the target cannot be shown") from None
        send_as_original(self, listed)

    def _turbo_read_as_original(self):
        self._turbo_fields = common_fields(self.turbo_files)
        send_as_original(self, self.send_head())

    def _turbo_refuse(self, refused):
        self._turbo_fields = refused.headers
        self.send_error(refused.status, refused.reason)

    def send_error(self, code, message=None, explain=None):
        """As the original, with what is added to each answer."""
        self._turbo_fields = (*self._turbo_fields, *common_fields(self.turbo_files))
        super().send_error(code, message, explain)

    def end_headers(self):
        """As the original; what waits for this head goes into it, if it has no such field."""
        if self._turbo_fields:
            fields, self._turbo_fields = self._turbo_fields, ()
            sent = header_names(self)
            for name, value in fields:
                if name.lower() not in sent - LISTS:
                    self.send_header(name, value)
                    sent |= {name.lower()} & YIELDING      # the first of them is what somebody asked for
        super().end_headers()


if accelerated:
    # Else each connection would be a socket of the program's, to which every write goes at once: two packets.
    from .._handlers import register_file_members, register_forwarding_init
    register_forwarding_init(FileHandler.__init__)
    register_file_members(FileHandler)


def handler_class(options):
    """A FileHandler class for these Options; it keeps connections (HTTP/1.1)."""
    members = {"turbo_files": options, "protocol_version": "HTTP/1.1", "__doc__": FileHandler.__doc__, "__module__": __name__}
    if options.upload:
        members["turbo_drain_bytes"] = _DRAIN_BYTES
    return type("FileHandler", (FileHandler,), members)
