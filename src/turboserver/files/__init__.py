"""The file server: what is decided about a request for a file, what is sent, and what is received; and its command line.

    command.py      `turboserver [DIR]`; arguments.py has its options, options.py what of them the handler gets
    serving.py      sockets, servers, and their end
    addresses.py, certificate.py, request_log.py  what is shown at the start, TLS, a line for each answer
    beneath.py      which names a target means, and the way to them that cannot leave the root
    conditions.py   whether the client has it already, or knew another version (RFC 9110, 13)
    ranges.py       which parts of it are wanted (RFC 9110, 14)
    media_types.py  what it is
    codings.py      in which coding it is sent (RFC 9110, 12.5.3)
    folder.py       what is in a folder, in which order, and which part of it is asked for
    names.py        what becomes of a name: a URL, a text, a kind
    page.py         the page of it for people, from page.html, page.css and page.js
    as_json.py      the same for programs
    auth.py, passwords.py, throttle.py  who asks (RFC 7617), and how often somebody may try
    upload.py, partials.py, forms.py    what is received, and where that waits until it is whole
    options.py      what of all that is wanted
    opening.py      from a target to what is open below the root
    reading.py      GET and HEAD of http.server's SimpleHTTPRequestHandler; hooks.py says what a handler has of its own
    sending.py, receiving.py, handler.py    the handler, which calls all of these

Pure Python. Sockets are serving.py's and adopting.py's of turboserver.deploy; handlers are those of the handler's three
modules and of request_log.py. All others give their octets to whoever asked.
"""
