"""Options: what a file server does beyond http.server, all of it off unless asked.

Made by the command line (command.py of this package), read by the handler; constant. What may not live here: how any
of it is done.
"""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["UPLOAD_BOUND", "Options"]

#: Octets of one upload, unless the command line says another bound.
UPLOAD_BOUND = 1 << 30


@dataclasses.dataclass(frozen=True)
class Options:
    """What is served, and how."""

    directory: str = "."                            # the root
    headers: tuple[tuple[str, str], ...] = ()       # added to each answer
    cors: bool = False                              # Access-Control-Allow-Origin: *, and preflights answered
    cache: int | None = None                        # Cache-Control: max-age in seconds; None: the field is not sent
    spa: bool = False                               # a path that names nothing and has no extension is /index.html
    compress: bool = False                          # text is compressed as it goes
    auth: Any = None                                # auth.Basic, or None: everybody
    upload: bool = False                            # PUT and POST of files, and the page offers it
    upload_bound: int = UPLOAD_BOUND                # octets of one upload; 413 beyond
    page: bool = True                               # the folder page; False: the plain list of http.server
    outside: bool = False                           # links may lead out of the root
