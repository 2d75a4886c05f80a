"""The command line of `turboserver wsgi MODULE:APP`.

What cannot be meant is one line on stderr and exit code 2; what cannot be done is one line and exit code 1.

What may not live here: how anything is done.
"""

import argparse
import functools
import os
import signal
import sys

from . import DeployError, application, binds
from .notify import Notifier
from .signals import MASTER, WORKER, Signals

__all__ = ["main"]

_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 8000


def main(argv=None):
    """Serve as the command line `argv` says (default: sys.argv[1:]); returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        asked = _binds(arguments)
        options = _options(arguments, Notifier.from_environment())
    except ValueError as error:
        parser.error(str(error))
    try:
        return _run(arguments, asked, options)
    except DeployError as error:
        print(f"turboserver: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="turboserver wsgi", description="Serve a WSGI application.",
        epilog="SIGTERM and SIGINT answer what has been read, then end. With --workers, SIGHUP has new workers import "
               "the application anew, SIGTTIN and SIGTTOU add a worker or take one away. SIGUSR1 opens the access log "
               "again.")
    add = parser.add_argument
    add("application", metavar="MODULE:APP", type=_checked(application.parse),
        help="what to serve: package.module:name, or a factory: package.module:create_app()")
    group = parser.add_argument_group("where")
    add = group.add_argument
    add("-b", "--bind", metavar="ADDRESS", action="append", default=[], type=_checked(binds.parse),
        help="HOST:PORT, [IPV6]:PORT, :PORT (every address), unix:PATH or fd://N; may be repeated "
             f"(default: the sockets that systemd passes, or {_DEFAULT_HOST}:{_DEFAULT_PORT})")
    add("--host", help=f"listen on this address (default: {_DEFAULT_HOST})")
    add("-p", "--port", type=int, help=f"listen on this port (default: {_DEFAULT_PORT})")
    add("--unix", metavar="PATH", help="listen on this Unix socket")
    group = parser.add_argument_group("processes and threads")
    add = group.add_argument
    add("-w", "--workers", metavar="N", type=_count, help="serve with N processes, which a master looks after "
                                                          "(default: this process alone)")
    add("--reuse-port", action="store_true", help="a listening socket for each worker instead of one for all "
                                                  "(SO_REUSEPORT)")
    add("--max-requests", metavar="N", type=_requests, help="replace a worker that has answered so many requests "
                                                            "(without --workers: the one, which a master looks after)")
    add("--max-requests-jitter", metavar="N", type=_requests, help="or up to so many more, so that not all are "
                                                                   "replaced at once")
    add("--threads", metavar="MAX", type=_count, help="at most so many requests at a time for each address and "
                                                      "process; 1: the application never sees a second thread")
    add("--graceful-timeout", metavar="SECONDS", type=_seconds, default=30.0,
        help="for what is under way when the server is to end (default: 30)")
    add("--reload", action="store_true", help="begin anew when a Python file changes (needs turboserver[reload])")
    add("--reload-dir", metavar="FOLDER", action="append", default=[],
        help="watch this folder; may be repeated (default: the current one)")
    group = parser.add_argument_group("access log")
    add = group.add_argument
    add("--access-log", metavar="PATH", nargs="?", const="-", help="a line for each answer, to a file, or to standard "
                                                                   "output (-, or no PATH; default: none)")
    add("--access-log-format", choices=("common", "combined", "json"), default="combined", help="(default: combined)")
    group = parser.add_argument_group("behind a proxy")
    add = group.add_argument
    add("--forwarded-allow-ips", metavar="LIST", default=os.environ.get("FORWARDED_ALLOW_IPS"),
        help="believe X-Forwarded-* and Forwarded from these addresses and networks, and remove them from others: "
             "10.0.0.0/8,::1; '*' is everybody, 'unix' who comes by a Unix socket (default: the variable "
             "FORWARDED_ALLOW_IPS; without it, the fields reach the application as they are)")
    add("--forwarded-fields", metavar="LIST", default="for,proto,host,port,prefix,forwarded",
        help="which of them count; the others are removed (default: %(default)s)")
    add("--root-path", metavar="PATH", default="", help="the application lives below this path (SCRIPT_NAME)")
    return parser


def _checked(parse):
    """`parse` for argparse, which shows only the texts of its own error."""
    @functools.wraps(parse)
    def checked(text):
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return checked


def _count(text):
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 16000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 16000")
    return int(text)


def _requests(text):
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of requests")
    return int(text)


def _seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 86400")
    return value


def _binds(arguments):
    """All addresses that are asked for. Raises ValueError."""
    asked = list(arguments.bind)
    if arguments.host is not None or arguments.port is not None:
        host = _DEFAULT_HOST if arguments.host is None else arguments.host
        port = _DEFAULT_PORT if arguments.port is None else arguments.port
        asked.append(binds.parse(binds.bind_name(host, port)))
    if arguments.unix is not None:
        asked.append(binds.parse(f"unix:{arguments.unix}"))
    asked += binds.passed_by_systemd()
    if not asked:
        asked.append(binds.parse(binds.bind_name(_DEFAULT_HOST, _DEFAULT_PORT)))
    if arguments.threads == 1 and len(asked) > 1:
        raise ValueError("--threads 1 serves one address: each has a thread of its own")
    if arguments.reuse_port and arguments.workers is None:
        raise ValueError("--reuse-port is for --workers")
    if arguments.max_requests_jitter is not None and arguments.max_requests is None:
        raise ValueError("--max-requests-jitter is for --max-requests")
    if arguments.reload_dir and not arguments.reload:
        raise ValueError("--reload-dir is for --reload")
    return asked


def _options(arguments, notify):
    """A function that makes serve.Options, and opens the access log. Raises ValueError here, DeployError later."""
    from . import forwarded, root_path
    trust = None if arguments.forwarded_allow_ips is None else forwarded.Trust(arguments.forwarded_allow_ips)
    fields = tuple(filter(None, (name.strip() for name in arguments.forwarded_fields.split(","))))
    for name in fields:
        if name not in forwarded.FIELDS:
            raise ValueError(f"--forwarded-fields: {name!r} is none of {', '.join(forwarded.FIELDS)}")
    below = root_path.checked(arguments.root_path) if arguments.root_path else ""

    def make():
        from turboserver import accelerated
        from .access_log import AccessLog
        from .serve import Options
        log = arguments.access_log
        if log is not None and not accelerated:
            raise DeployError("--access-log needs the native engine, which is not loaded here")
        return Options(
            target=arguments.application, threads=arguments.threads,
            multiprocess=(arguments.workers or 1) > 1,
            access_log=None if log is None else AccessLog(log, arguments.access_log_format),
            trust=trust, fields=fields, root_path=below, graceful_timeout=arguments.graceful_timeout,
            max_requests=arguments.max_requests, max_requests_jitter=arguments.max_requests_jitter or 0,
            notify=notify)
    return make


def _run(arguments, asked, make_options):
    folders = arguments.reload_dir or ["."]
    if arguments.reload:
        from . import reload
        reload.check(folders)
    workers = arguments.workers or 1
    alone = arguments.workers is None and arguments.max_requests is None and not arguments.reload
    numbers = WORKER if alone else MASTER
    if alone and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:     # nohup
        numbers = tuple(number for number in numbers if number != signal.SIGHUP)
    signals = Signals(numbers)
    signals.end_at_once(set(numbers) & {signal.SIGTERM, signal.SIGINT})
    try:
        with binds.opened(asked, workers, arguments.reuse_port) as listeners:
            options = make_options()
            announce = functools.partial(_announce, arguments, [listener.url for listener in listeners], options.notify)
            if alone:
                from .serve import serve
                return serve([listener.socket_for(0) for listener in listeners], options, signals, ready=announce)
            from .workers import run
            watch = functools.partial(reload.watch, folders) if arguments.reload else None
            return run(listeners, workers, options, signals, announce, watch)
    finally:
        signals.close()


def _announce(arguments, urls, notify):
    workers = f"{arguments.workers} workers, " if arguments.workers else ""
    serving = f"serving {arguments.application} on {', '.join(urls)}"
    print(f"turboserver: {serving} ({workers}pid {os.getpid()})", file=sys.stderr, flush=True)
    notify.ready(serving)
