"""The command `turboserver`: serve a folder, run an unchanged program, serve a WSGI application, or explain a class.

`run` puts our classes in place and then starts the program as `python` would: the same
sys.argv and sys.path, the same __main__, the same exit codes, tracebacks without a frame
of ours. `wsgi` is in turboserver.deploy; what is no command is a folder, and turboserver.files serves it. Errors of usage are one line on stderr and exit code 2.
"""

import argparse
import builtins
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import sys
import types
import zipimport

__all__ = ["main"]

_RUN_USAGE = "usage: turboserver run [-h] (SCRIPT | -m MODULE | -c CODE) [ARGS ...]"
_RUN_HELP = """
Run a Python program with turboserver's classes in place of those in socketserver,
http.server and wsgiref.simple_server.

  SCRIPT     a file, or a folder or zip archive with a __main__.py in it
  -m MODULE  a module or package, found as `python -m` finds it
  -c CODE    a program given as text
  ARGS       what the program gets as sys.argv[1:]
"""


class _Refused(Exception):
    """Nothing could be run: (message, exit code)."""


def main(argv=None):
    """Run the command line `argv` (default: sys.argv[1:]) and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["run"]:
        return _run(argv[1:])
    if argv[:1] == ["wsgi"]:
        from turboserver.deploy.command import main as serve
        return serve(argv[1:])
    if argv[:1] == ["explain"]:
        arguments = _explain_parser().parse_args(argv[1:])
        return _explain(arguments.target, arguments.server)
    from turboserver.files.command import main as serve_files
    return serve_files(argv)


def _explain_parser():
    parser = argparse.ArgumentParser(
        prog="turboserver explain",
        description="Name the lane a handler or server class takes and each override that decides it.")
    parser.add_argument("target", metavar="MODULE:CLASS", help="a handler or a server class")
    parser.add_argument("--server", metavar="MODULE:CLASS",
                        help="the server that a handler is for (default: ThreadingHTTPServer)")
    return parser


# -- explain -------------------------------------------------------------------

def _explain(target, server):
    from turboserver import install, lanes
    sys.path.insert(0, os.getcwd())
    install()           # the class as it is when its program is run by us
    try:
        print(lanes.explain(_load(target), server=_load(server) if server else None))
    except _Refused as refusal:
        return _refuse(*refusal.args)
    return 0


def _load(target):
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise _Refused(f"{target!r} is not of the form MODULE:CLASS", 2)
    try:
        found = importlib.import_module(module_name)
    except Exception as error:
        raise _Refused(f"cannot import {module_name}: {type(error).__name__}: {error}", 1) from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise _Refused(f"{module_name} has no {path}", 1)
        found = getattr(found, name)
    if not callable(found) and not hasattr(found, "serve_forever"):
        raise _Refused(f"{target} is neither a handler nor a server", 1)
    return found


def _refuse(message, code):
    print(f"turboserver: {message}", file=sys.stderr)
    return code


# -- run -----------------------------------------------------------------------

def _run(arguments):
    if arguments[:1] in (["-h"], ["--help"]):
        print(_RUN_USAGE + "\n" + _RUN_HELP, end="")
        return 0
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        print(_RUN_USAGE, file=sys.stderr)
        return _refuse("nothing to run", 2)
    what, rest = arguments[0], arguments[1:]
    if what[:2] in ("-m", "-c"):
        option, given = what[:2], what[2:]
        if not given:
            if not rest:
                print(_RUN_USAGE, file=sys.stderr)
                return _refuse(f"{option} needs an argument", 2)
            given, rest = rest[0], rest[1:]
        prepare = _prepare_module if option == "-m" else _prepare_text
    elif what.startswith("-"):
        print(_RUN_USAGE, file=sys.stderr)
        return _refuse(f"unknown option {what}", 2)
    else:
        prepare, given = _prepare_path, what

    from turboserver import install
    install()
    _hand_on()
    try:
        _execute(*_guarded(prepare, given, rest))
    except _Refused as refusal:
        return _refuse(*refusal.args)
    return 0


def _hand_on():
    """Python processes that the program starts, as reloaders do, get our classes as well."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_children")
    before = os.environ.get("PYTHONPATH")
    if not before or folder not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = folder + (os.pathsep + before if before else "")
    os.environ["TURBOSERVER_RUN"] = sys.prefix


def _guarded(prepare, given, rest):
    """prepare(), with what goes wrong in the program's own code reported as the program's."""
    try:
        return prepare(given, rest)
    except (_Refused, SystemExit):
        raise
    except BaseException as error:
        _report(error)
        raise


def _execute(code, main):
    _Main.replaced = sys.modules["__main__"]
    sys.modules["__main__"] = main
    try:
        exec(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        _report(error)
        raise


class _Main:
    replaced = None     # keeps the module we were started as alive while the program runs


def _report(error):
    """Show `error` as the interpreter would, without our frames, and keep it from being shown again.

    The error goes on to the interpreter, which ends the process as it ends any program
    with that error (an interrupt by the signal's own exit status).
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    sys.excepthook = lambda *_: None


def _set_path(first):
    """What `python` puts in front of sys.path, in place of what it put there for us."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = first


def _new_main(**names):
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, **names)
    return main


def _prepare_text(text, rest):
    sys.argv[:] = ["-c", *rest]
    _set_path("")
    code = compile(text + "\n", "<string>", "exec", dont_inherit=True)
    return code, _new_main(__loader__=importlib.machinery.BuiltinImporter)


def _prepare_module(name, rest):
    sys.argv[:] = ["-m", *rest]
    _set_path(os.getcwd())
    spec = _find_module(name)
    if spec.submodule_search_locations is not None:
        try:
            spec = _find_module(name + ".__main__")
        except _Refused as refusal:
            raise _Refused(f"{refusal.args[0]}; {name!r} is a package and cannot be run itself", 1) from None
    code = spec.loader.get_code(spec.name) if hasattr(spec.loader, "get_code") else None
    if code is None:
        raise _Refused(f"there is no code for {spec.name}", 1)
    sys.argv[0] = spec.origin
    return code, _new_main(__file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader,
                           __package__=spec.parent, __spec__=spec)


def _find_module(name):
    missing = f"No module named {name}"
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # Only a missing parent means "no such module"; one that a parent's own code
        # could not import is that code's error.
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise _Refused(missing, 1) from None
        raise
    except (ValueError, TypeError):
        raise _Refused(missing, 1) from None
    if spec is None or spec.loader is None:
        raise _Refused(missing, 1)
    return spec


def _prepare_path(path, rest):
    sys.argv[:] = [path, *rest]
    full = os.path.join(os.getcwd(), path)
    if os.path.isdir(path) or _is_archive(path):
        _set_path(full)
        return _prepare_container(path, full)
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as error:
        raise _Refused(f"can't open file {full!r}: [Errno {error.errno}] {error.strerror}", 2) from None
    _set_path(os.path.dirname(os.path.realpath(full)))
    if source.startswith(importlib.util.MAGIC_NUMBER):
        loader = importlib.machinery.SourcelessFileLoader("__main__", full)
        code = loader.get_code("__main__")
    else:
        loader = importlib.machinery.SourceFileLoader("__main__", full)
        code = compile(source, full, "exec", dont_inherit=True)
    return code, _new_main(__file__=full, __cached__=None, __loader__=loader)


def _is_archive(path):
    try:
        zipimport.zipimporter(path)
    except zipimport.ZipImportError:
        return False
    return True


def _prepare_container(path, full):
    """A folder or archive is run by the __main__ in it."""
    importer = pkgutil.get_importer(full)
    spec = importer.find_spec("__main__") if importer is not None else None
    code = spec.loader.get_code("__main__") if spec is not None and spec.loader is not None else None
    if code is None:
        raise _Refused(f"can't find '__main__' module in {path!r}", 1)
    return code, _new_main(__file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader,
                           __package__="", __spec__=spec)
