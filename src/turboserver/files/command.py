"""The command line of the file server, `turboserver [DIR]`: what is done, and what is said of it.

What cannot be meant is one line on standard error and exit code 2, what cannot be done one line and exit code 1. The
addresses and the end go to standard output; warnings, and the log, to standard error.

What may not live here: options (arguments.py); how anything is done. `python -m turboserver.http.server`, whose
options are the original's, is in turboserver/http/command.py.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading

from turboserver.deploy import DeployError
from turboserver.deploy.signals import Signals

from . import addresses, certificate, request_log, serving
from . import arguments as asking
from .options import UPLOAD_BOUND, Options

__all__ = ["main"]


def main(argv=None):
    """Serve as the command line `argv` says (default: sys.argv[1:]); returns the exit code. SystemExit for --help,
    --version and bad usage."""
    parser = asking.parser()
    arguments = parser.parse_args(argv)
    try:
        asked, explicit = asking.binds_of(arguments)
        asking.check(arguments)
    except ValueError as error:
        parser.error(str(error))
    signals = Signals(_stops())
    signals.end_at_once(serving.STOPS)
    try:
        return _run(arguments, asked, explicit, signals)
    except DeployError as error:
        _complain(error)
        return 1
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    finally:
        signals.close()


def _stops():
    """SIGHUP is ignored under nohup, and stays so."""
    return [number for number in serving.STOPS
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


# ---------------------------------------------------------------- what is done

def _options(arguments):
    """The Options. Raises DeployError, and ArgumentTypeError for a USER:PASSWORD that is none."""
    return Options(
        directory=_directory(arguments), headers=tuple(arguments.header), cors=arguments.cors, cache=arguments.cache,
        spa=arguments.spa, compress=arguments.compress, auth=_auth(arguments.auth), upload=arguments.upload,
        upload_bound=UPLOAD_BOUND if arguments.upload_bound is None else arguments.upload_bound,
        page=not arguments.no_page, outside=arguments.follow_outside)


def _directory(arguments):
    given = arguments.directory
    if given == "":
        # A variable that is not set, in a script: not the folder that everybody is to see.
        raise DeployError("the name of the folder is empty (the current one is .)")
    try:
        path = os.path.abspath(os.getcwd() if given is None else given)
        os.scandir(path).close()
    except FileNotFoundError:
        raise DeployError("the current folder is gone" if given is None else _missing(given)) from None
    except NotADirectoryError:
        raise DeployError(f"no folder: {given}") from None
    except (OSError, ValueError) as error:      # ValueError: NUL
        raise DeployError(f"cannot read the folder {given or path}: {getattr(error, 'strerror', None) or error}") from None
    if arguments.upload and not os.access(path, os.W_OK | os.X_OK):
        raise DeployError(f"--upload: no permission to write in {path}")
    return path


def _missing(given):
    if given.isdigit():     # as for python -m http.server
        return f"no such folder: {given} (a port is -p {given})"
    # One word may be a command mistyped.
    return f"no such folder{'' if os.sep in given else ' or command'}: {given}"


def _auth(given):
    """auth.Basic or None. The variable goes out of the environment: it is for nobody else."""
    variable = os.environ.pop(asking.VARIABLE, None)
    text = given if given is not None else variable
    if text is None:
        return None
    from . import auth
    source = "--auth" if given is not None else asking.VARIABLE
    try:
        return auth.Basic(auth.users_of(text, _complain))
    except auth.Mistake as error:
        if text.startswith("@"):
            raise DeployError(f"{source}: {error}") from None
        raise argparse.ArgumentTypeError(f"{source}: {error}") from None
    except ImportError as error:
        raise DeployError(f"{source}: {error}") from None
    except OSError as error:
        raise DeployError(f"{source}: cannot read {text[1:]}: {error.strerror}") from None


def _check_secrets(arguments, directory):
    """Raises DeployError for a file with a secret that would be served, and where uploads are on, replaced."""
    passwords = arguments.auth or ""
    for option, path in (("--tls-key", arguments.tls_key or arguments.tls_cert),
                         ("--auth", passwords[1:] if passwords.startswith("@") else None)):
        if path and os.path.realpath(path).startswith(os.path.join(os.path.realpath(directory), "")):
            raise DeployError(f"{option}: {path} is in the folder that is served")


def _run(arguments, asked, explicit, signals):
    options = _options(arguments)
    if arguments.qr:
        addresses.need_qr()
    if arguments.tls_cert:
        certificate.check(arguments.tls_cert, arguments.tls_key)
    if arguments.tls_self_signed:
        certificate.need_cryptography()
    _check_secrets(arguments, options.directory)
    from .handler import handler_class
    tls = bool(arguments.tls_cert or arguments.tls_self_signed)
    wanted = asking.PORT if arguments.port is None else arguments.port
    with serving.listening(asked, wanted, explicit) as (listeners, port):
        sockets = [listener.socket_for(0) for listener in listeners]
        unix = any(sock.family not in (socket.AF_INET, socket.AF_INET6) for sock in sockets)
        handler = request_log.logging(handler_class(options), format=arguments.log_format,
                                      quiet=arguments.quiet, unix=unix)
        lan = addresses.lan_addresses()
        fingerprint = replaced = None
        if arguments.tls_self_signed:
            hosts = [host for host, *_ in (sock.getsockname() for sock in sockets if sock.family != socket.AF_UNIX)]
            named = [bind if isinstance(bind, str) else bind.value[0] for bind in asked
                     if isinstance(bind, str) or bind.kind == "tcp"]
            pair = certificate.self_signed(["localhost", socket.gethostname(), "127.0.0.1", "::1", *lan, *hosts, *named])
            fingerprint = pair.fingerprint
            with certificate.on_disk(pair.pem) as path:
                servers = serving.make(listeners, handler, path)
        else:
            if arguments.tls_cert:      # it looks before they are read
                replaced = certificate.Replaced([arguments.tls_cert, arguments.tls_key], lambda: _reread(servers),
                                                _complain).look
            servers = serving.make(listeners, handler, arguments.tls_cert, arguments.tls_key)
        if port != wanted:
            _say(f"turboserver: port {wanted} is in use, so this is {port}", sys.stderr)
        _warn(options, tls, all(map(addresses.is_local, sockets)))
        found = [url for sock in sockets for url in addresses.urls(sock, "https" if tls else "http", lan)]
        signals.note_only()
        with contextlib.redirect_stderr(request_log.unfailing(sys.stderr)):
            return serving.until_told(servers, listeners, signals, ending=_ending(arguments), look=replaced,
                                      ready=lambda: _announce(arguments, options, found, fingerprint))


def _reread(servers):
    for server in servers:
        server.turbo_reload_certificate()


# ---------------------------------------------------------------- what is said

def _say(text, stream):
    if stream is None:      # started without it
        return
    encoding = stream.encoding or "ascii"
    with contextlib.suppress(OSError, ValueError):      # nobody reads it any more
        print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)


def _complain(message):
    _say(f"turboserver: {addresses.shown(str(message))}", sys.stderr)


def _warn(options, tls, local):
    colours = addresses.Colours(sys.stderr)
    if local:
        return
    if options.upload and options.auth is None:
        _say(f"{colours.warning}turboserver: warning: everybody who reaches this address can upload (--auth, "
             f"or --bind 127.0.0.1){colours.reset}", sys.stderr)
    if options.auth is not None and not tls:
        _say(f"{colours.warning}turboserver: warning: passwords can be read on the way, for this is not HTTPS "
             f"(--tls-self-signed, --tls-cert){colours.reset}", sys.stderr)


def _announce(arguments, options, found, fingerprint):
    address = addresses.chosen(found)
    if not arguments.quiet:
        notes = [f"  SHA-256 of the certificate: {fingerprint}"] if fingerprint else []
        if options.upload:
            notes.append("  Uploads are on.")
        notes.append("Ctrl-C ends it.")
        _say(addresses.banner(options.directory, found, notes, addresses.Colours(sys.stdout))[:-1], sys.stdout)
    if arguments.qr and address is not None:
        code = addresses.qr(address, getattr(sys.stdout, "encoding", None))
        if all(url.local for url in found):
            _complain("the QR code leads to this machine alone (--bind)")
        if code is None:
            _complain("this terminal has no characters for a QR code (UTF-8 has)")
        else:
            _say(code, sys.stdout)
    if arguments.open:
        own = next((url.text for url in found if url.local and not url.text.startswith("unix:")), address)
        threading.Thread(target=_open, args=(own,), daemon=True, name="open").start()


def _open(url):
    import webbrowser
    if not webbrowser.open(url):
        _complain(f"no browser could be started for {url}")


def _ending(arguments):
    def ending(number):
        if not arguments.quiet and number is not None:
            # A terminal has shown ^C.
            begin = "\n" if number == signal.SIGINT and addresses.is_terminal(sys.stdout) else ""
            text = "Interrupted, ending. Ctrl-C again ends it at once." if number == signal.SIGINT else "Ending."
            _say(begin + text, sys.stdout)
    return ending
