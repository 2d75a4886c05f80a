"""Answers to requests that bring a file: PUT, POST of a form, and how much of an upload is there.

    receive_file(handler, ...)  PUT: the body is the file, or a part of it (Content-Range)
    receive_form(handler, ...)  POST ?upload: the files of a form go into the folder of the target
    upload_fields(...)          HEAD: Upload-Offset and Upload-Length of one that was cut short

Who is about to send a large file may ask first: by Expect, whose 100 is sent when everything but the body was looked at;
or, as browsers cannot, by a PUT of nothing with `Content-Range: bytes */LENGTH`. What is refused then was not sent in vain,
and is heard: who still sends may find the connection gone before the answer.

Invariants: a page of another site cannot make a browser upload (RFC 9110 has nothing to say of it; Fetch Metadata and
RFC 6454 do). What is refused before it was read is left to the engine, which drops it within bounds.

A PUT replaces what is there (RFC 9110, 9.3.4) unless its preconditions say otherwise; a form, which has none, replaces
nothing. The handler's thread. What may not live here: what a file goes through on its way to its name (upload.py).
"""

import contextlib
import os
import re

from .. import accelerated, framing
from . import forms, partials
from .beneath import Refused
from .opening import open_folder
from .sending import send_empty
from .upload import Upload, parse_asked_length, parse_content_range

__all__ = ["METHODS", "receive_file", "receive_form", "refuse_other_sites", "upload_fields"]

METHODS = "GET, HEAD, PUT, POST, OPTIONS"       # where uploads are taken
_ALLOW = (("Allow", METHODS),)
_length = re.compile("[0-9]{1,18}").fullmatch


def refuse_other_sites(headers):
    """Raises Refused (403) if a browser says that a page of another site makes this request. Sec-Fetch-Site says so
    itself, where the connection is trustworthy; else Origin is another than the Host that was asked. Programs send
    neither."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        foreign = site.strip().lower() not in ("same-origin", "none")
    else:
        origin = headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != (headers.get("Host") or "").lower()
    if foreign:
        raise Refused(403, "no uploads from pages of other sites")


def receive_file(handler, root, target, owner):
    """Answer a PUT: 201 with Location, 204, 202 for a part, and for who asks. owner: who it is, "" for everybody. Raises
    Refused, BodyError."""
    refuse_other_sites(handler.headers)
    if target.folder or not target.names:
        raise Refused(405, "a file needs a name", _ALLOW)
    length = _body_length(handler)
    part = handler.headers.get("Content-Range")
    asked = None if part is None else parse_asked_length(part)
    if asked is not None and length == 0:
        _would_receive(handler, root, target, owner, asked)
        return
    part = None if part is None else parse_content_range(part)
    with (_folder(handler, root, target.names[:-1]) as directory,
          Upload(directory.fd, target.names[-1], size_bound=handler.turbo_files.upload_bound, length=length,
                 content_range=part, get_all=handler.headers.get_all, replace=True, resumable=True,
                 owner=owner) as upload):
        handler._turbo_continue()
        upload.receive(handler.rfile)
        answer = upload.finish()
    fields = list(answer.headers)
    if answer.status == 201:
        fields.append(("Location", target.canonical[:-1]))
    send_empty(handler, answer.status, fields)


def _would_receive(handler, root, target, owner, length):
    """Answer who asks about a file of `length` octets: 202 with Upload-Offset, how many of them are there. Raises Refused,
    as for the file."""
    with (_folder(handler, root, target.names[:-1]) as directory,
          Upload(directory.fd, target.names[-1], size_bound=handler.turbo_files.upload_bound, length=length,
                 get_all=handler.headers.get_all, replace=True)):
        found = partials.query(directory.fd, target.names[-1], owner, length)
    send_empty(handler, 202, (("Upload-Offset", str(found.offset if found else 0)),))


def receive_form(handler, root, target):
    """Answer a POST to a folder: 303 to its page. Raises Refused, BodyError."""
    refuse_other_sites(handler.headers)
    length = _body_length(handler)
    forms.check(handler.headers.get("Content-Type"))
    with _folder(handler, root, target.names) as directory:
        handler._turbo_continue()
        forms.receive_form(handler.rfile, handler.headers.get("Content-Type"), directory.fd,
                           size_bound=handler.turbo_files.upload_bound, length=length)
    # Relative, if it can be: a proxy may have put a prefix before it.
    send_empty(handler, 303, (("Location", "./" if target.is_canonical else target.canonical),))


def upload_fields(handler, root, target, owner):
    """Fields that say how much is there of an upload to this file that was cut short; () if there is none. Where
    something has the name already they are for who says Upload-Length: else the folder would have to be searched for each
    file that is there."""
    if target.folder or not target.names:
        return ()
    length = handler.headers.get("Upload-Length")
    length = int(length) if length is not None and _length(length) else None
    with contextlib.suppress(OSError, Refused), _folder(handler, root, target.names[:-1]) as directory:
        if length is None and _is_there(directory.fd, target.names[-1]):
            return ()
        found = partials.query(directory.fd, target.names[-1], owner, length)
        if found is not None:
            return ("Upload-Offset", str(found.offset)), ("Upload-Length", str(found.length))
    return ()


def _is_there(directory, name):
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _folder(handler, root, folder_names):
    try:
        return open_folder(root, folder_names, handler.turbo_files.outside)
    except Refused as refused:
        if refused.status == 404:
            # RFC 4918, 9.7.1: what would have to be there first is missing.
            raise Refused(409, "there is no such folder") from refused
        raise


def _body_length(handler):
    """Content-Length, or None for a body in chunks, which rfile decodes. Raises Refused (411)."""
    length, chunked = framing.body_framing(handler.headers, handler.request_version)
    if length is None and not (chunked and accelerated):
        raise Refused(411, "a length is wanted")
    return length

