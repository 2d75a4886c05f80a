"""MODULE:APP and MODULE:FACTORY(): from text to a WSGI application.

What goes wrong is told in one line that says whose fault it is: the name's (no such module, no such
attribute), or the module's own (its error, and where that was raised).

What may not live here: anything about servers; catching what an application does later.
"""

import ast
import importlib
import inspect
import os
import sys

from . import DeployError

__all__ = ["ApplicationError", "Target", "load", "parse"]


class ApplicationError(DeployError):
    """There is no application to serve."""


class Target:
    """What `MODULE:APP` says: `module`, `path` (tuple of names), and for a factory `arguments`
    ((positional, keywords) of literals, else None)."""

    def __init__(self, text, module, path, arguments):
        self.text, self.module, self.path, self.arguments = text, module, path, arguments

    def __str__(self):
        return self.text


def parse(text):
    """The Target of `package.module:name.name` or `package.module:name(literal, key=literal)`.

    Raises ValueError, with a text for people, for anything else.
    """
    wrong = ValueError(f"{text!r} is not of the form MODULE:APP or MODULE:FACTORY()")
    module, colon, expression = text.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")):
        raise wrong
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        arguments = None
        if isinstance(node, ast.Call):
            if any(keyword.arg is None for keyword in node.keywords):
                raise wrong
            arguments = ([ast.literal_eval(value) for value in node.args],
                         {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords})
            node = node.func
        path = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise wrong
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise wrong from None
    return Target(text, module, (node.id, *path), arguments)


def load(target):
    """Import and, where it is a factory, call what `target` (Target) names; the current folder is looked in first.

    Returns a callable. Raises ApplicationError.
    """
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    found = _import(target.module)
    name = target.module
    for part in target.path:
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ApplicationError(f"{name} has no attribute {part!r}") from None
        except Exception as error:
            raise ApplicationError(f"{name}.{part} raised {_describe(error)}") from error
        name += ("." if name != target.module else ":") + part
    if target.arguments is not None:
        found = _call(target, found, name)
        name = str(target)
    return _checked(found, name)


def _import(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module asked for, or a package it lies in, is not there; any other is missed by its own code.
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ApplicationError(f"no module named {error.name!r}, neither in {os.getcwd()} nor installed") from None
        raise ApplicationError(f"cannot import {name}: {_describe(error)}") from error
    except SystemExit as error:
        if type(error) is not SystemExit:       # one that a signal brought
            raise
        raise ApplicationError(f"cannot import {name}: it wants to end the process (exit code {error.code})") from error
    except Exception as error:
        raise ApplicationError(f"cannot import {name}: {_describe(error)}") from error


def _call(target, factory, name):
    if not callable(factory):
        raise ApplicationError(f"{name} is no factory but {_kind(factory)}")
    positional, keywords = target.arguments
    try:
        return factory(*positional, **keywords)
    except SystemExit as error:
        if type(error) is not SystemExit:
            raise
        raise ApplicationError(f"{target} wants to end the process (exit code {error.code})") from error
    except Exception as error:
        raise ApplicationError(f"{target} raised {_describe(error)}") from error


def _checked(found, name):
    if not callable(found):
        raise ApplicationError(f"{name} is no WSGI application but {_kind(found)}, which cannot be called")
    call = found if inspect.isroutine(found) or isinstance(found, type) else type(found).__call__
    if inspect.iscoroutinefunction(call):
        raise ApplicationError(f"{name} is an ASGI application (async), not a WSGI one")
    return found


def _kind(thing):
    return "None" if thing is None else f"an object of type {type(thing).__name__}"


def _describe(error):
    """The last line of the error's traceback, and which line of which file raised it."""
    # Not str(): its text may be of several lines, or fail.
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        where = (error.filename, error.lineno)
        if isinstance(error.msg, str):
            said = f"{type(error).__name__}: {error.msg}"
    else:
        where = None
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if not code.co_filename.startswith("<") and code.co_filename not in (__file__, importlib.__file__):
                where = (code.co_filename, trace.tb_lineno)
            trace = trace.tb_next
    return f"{said} ({where[0]}, line {where[1]})" if where else said
