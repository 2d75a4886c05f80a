"""Options: what a file server does beyond http.server, all of it off unless asked.

Made by the command line (command.py of this package), read by the handler; constant. What may not live here: how any
of it is done.
"""

from collections import namedtuple

__all__ = ["UPLOAD_BOUND", "Options"]

#: Octets of one upload, unless the command line says another bound.
UPLOAD_BOUND = 1 << 30

_DEFAULTS = {
    "directory": ".",               # the root
    "headers": (),                  # pairs of str, added to each answer
    "cors": False,                  # Access-Control-Allow-Origin: *, and preflights answered
    "cache": None,                  # Cache-Control: max-age in seconds; None: the field is not sent
    "spa": False,                   # a path that names nothing and has no extension is /index.html
    "compress": False,              # text is compressed as it goes
    "auth": None,                   # auth.Basic, or None: everybody
    "upload": False,                # PUT and POST of files, and the page offers it
    "upload_bound": UPLOAD_BOUND,   # octets of one upload; 413 beyond
    "page": True,                   # the folder page; False: the plain list of http.server
    "outside": False,               # links may lead out of the root
    "nosniff": True,                # X-Content-Type-Options
}


# Every program with an http.server has these: no dataclass, for that would bring inspect with it.
class Options(namedtuple("Options", _DEFAULTS, defaults=_DEFAULTS.values())):
    """What is served, and how: `turbo_files` of a handler class. Constant; _replace(...) makes others.

    directory (path, "."); headers (pairs of str, of each answer; none); cors (bool); cache (seconds as int, or None);
    spa, compress (bool); auth (turboserver.files.auth.Basic, or None); upload (bool) and upload_bound (octets as int;
    1 GiB); page (bool, true), the folder page; outside (bool), links may lead out of the root; nosniff (bool, true).
    What is not said is false or None.
    """

    __slots__ = ()
