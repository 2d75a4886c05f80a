"""The scenarios' answers as an ASGI application, `asgi:app`; which one, the variable BENCH_APP says ("sleep 0.01")."""

import asyncio
import os

BODY = b"Hello, World!"
BULK = 10 * 2**20  # octets of a download
PIECE = b"0123456789abcdef" * 4096  # 64 KiB
PLAIN = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
WANTED = {b"user-agent", b"accept-language", b"cookie"}


async def answer(send, body=BODY, headers=PLAIN, status=200):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await answer(send)


async def headers(scope, receive, send):
    found = WANTED.intersection(name for name, _ in scope["headers"])
    await answer(send, status=200 if found == WANTED else 400)


async def sleep(scope, receive, send):
    await asyncio.sleep(SECONDS)
    await answer(send)


async def mixed(scope, receive, send):
    if scope["path"] == "/slow":
        await asyncio.sleep(0.1)
    await answer(send)


async def pieces(receive):
    """The body of the request, as it comes."""
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def post(scope, receive, send):
    body = b"".join([piece async for piece in pieces(receive)])
    octets = str(len(body)).encode()
    await answer(send, body, [(b"content-type", b"application/octet-stream"), (b"content-length", octets)])


async def download(scope, receive, send):
    names = [(b"content-type", b"application/octet-stream"), (b"content-length", str(BULK).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": names})
    for _ in range(BULK // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def upload(scope, receive, send):
    async for _ in pieces(receive):
        pass
    await answer(send)


NAME, *ARGUMENT = os.environ["BENCH_APP"].split()
SECONDS = float(ARGUMENT[0]) if ARGUMENT else 0.0
app = {
    "hello": hello,
    "closing": hello,
    "headers": headers,
    "sleep": sleep,
    "mixed": mixed,
    "post": post,
    "download": download,
    "upload": upload,
}[NAME]
