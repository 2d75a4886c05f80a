"""Middlewares from PyPI, unchanged, around a small application each.

Looked for by name and summary in PyPI's list, and what must hold was: WSGI middleware, installs from a wheel,
runs on Python 3.11.

profiling  wsgi_lineprof: the one the project's plan names.
caching    Beaker's CacheMiddleware. wsgi-cache, wsgistate, pagecache and wsgi-accelerator were written for
           Python 2 and have had no release since 2013. Beaker is released still, and has sessions besides.
GraphQL    ariadne.wsgi.GraphQLMiddleware. wsgi-graphql is of 2018 and wants a GraphQL library of that time;
           graphql-server offers views for frameworks, no middleware.
A/B tests  swab. cleaver is of 2015, sixpack and planout are no WSGI middleware.
"""
import html
import io
import os
import threading

import contract
from ariadne import QueryType, make_executable_schema
from ariadne.wsgi import GraphQL, GraphQLMiddleware
from beaker.middleware import CacheMiddleware, SessionMiddleware
from swab import Swab, record_goal, record_trial_tag, show_variant
from wsgi_lineprof.filters import FilenameFilter
from wsgi_lineprof.middleware import LineProfilerMiddleware

#: Copied for each answer: a server may change the list that it is given.
TEXT = [("Content-Type", "text/plain")]
_lock = threading.Lock()


# ---------------------------------------------------------------- profiling

_lines = io.StringIO()


def _profiled(environ, start_response):
    """Told what was measured so far at /lines, and profiled everywhere else."""
    start_response("200 OK", [*TEXT])
    total = 0
    for number in range(10):
        total += number         # this line is counted
    return [b"total %d" % total]


_profiler = LineProfilerMiddleware(_profiled, stream=_lines, filters=[FilenameFilter("middlewares.py")])


def profiled(environ, start_response):
    if environ["PATH_INFO"] == "/lines":
        start_response("200 OK", [*TEXT])
        return [_lines.getvalue().encode()]
    return _profiler(environ, start_response)


# ---------------------------------------------------------------- caching

_computed = 0


def _cached(environ, start_response):
    def compute():
        global _computed
        with _lock:
            _computed += 1
        return b"computed for " + environ["PATH_INFO"].encode("latin-1")

    cache = environ["beaker.cache"].get_cache("pages", type="memory")
    page = cache.get(key=environ["PATH_INFO"] + environ["SERVER_PORT"], createfunc=compute)
    session = environ["beaker.session"]
    session["visits"] = session.get("visits", 0) + 1
    session.save()
    start_response("200 OK", [*TEXT, ("X-Visits", str(session["visits"]))])
    return [page, b", computed %d times" % _computed]


cached = SessionMiddleware(CacheMiddleware(_cached, type="memory"), type="memory", key="beaker")


# ---------------------------------------------------------------- GraphQL

_query = QueryType()


@_query.field("hello")
def _resolve_hello(parent, info, name="world"):
    return f"hello {name} from {info.context['request']['REMOTE_ADDR']}"


@_query.field("long")
def _resolve_long(parent, info, count):
    return ["x" * 100] * count


@_query.field("broken")
def _resolve_broken(parent, info):
    raise RuntimeError("as it is meant to")


_schema = make_executable_schema(
    "type Query { hello(name: String): String! long(count: Int!): [String!]! broken: String }", _query)


def _beside(environ, start_response):
    start_response("200 OK", [*TEXT])
    return [b"beside GraphQL"]


graph = GraphQLMiddleware(_beside, GraphQL(_schema, execute_get_queries=True))


# ---------------------------------------------------------------- A/B tests

_swab = Swab(os.path.join(contract.FOLDER, "swab"))
_swab.add_experiment("button", ["red", "blue"], goal="signup")


def _split(environ, start_response):
    if environ["PATH_INFO"] == "/signup":
        record_goal(environ, "signup")
        start_response("200 OK", [*TEXT])
        return [b"thank you"]
    variant = show_variant(environ, "button", record=True)
    tag = record_trial_tag(environ, "button")
    start_response("200 OK", [("Content-Type", "text/html"), ("ETag", '"x"')])
    return [f"<body>{html.escape(variant)}{tag}</body>".encode()]


split = _swab.middleware(_split)


# ---------------------------------------------------------------- all of them, one around the other

def _innermost(environ, start_response):
    cache = environ["beaker.cache"].get_cache("inner", type="memory")
    variant = show_variant(environ, "button", variant="red")
    start_response("200 OK", [*TEXT])
    yield cache.get(key="file", createfunc=lambda: contract.FILE_BYTES[:1000])
    yield variant.encode()


stacked = LineProfilerMiddleware(
    _swab.middleware(CacheMiddleware(GraphQLMiddleware(_innermost, GraphQL(_schema)), type="memory")),
    stream=open(os.devnull, "w"))
