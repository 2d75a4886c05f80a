"""Says which socket servers a process has, when it is asked by SIGUSR2: what programs of the field are looked at with.

On PYTHONPATH of a program and of all that it starts; so nothing of the program is changed, and reloaders' children are
seen, too. A process that can be asked has FIELD_REPORTS/PID.alive; its last answer is FIELD_REPORTS/PID, the repr() of a
list of {"class", "handler", "lane", "reasons", "port"}, one for each server that listens. lane is None where turboserver is not
loaded. A server that waits in handle_request(), not in serve_forever(), is in the blocking lane whatever decide() says.

What may not live here: anything that runs before the signal comes, but for its registration; imports in what runs then,
for the signal may come in the midst of one.
"""
import gc
import os
import signal
import sys

FOLDER = os.environ.get("FIELD_REPORTS")


def servers():
    """Every listening server of this process; [] while turboserver is still being imported."""
    lanes = sys.modules.get("turboserver.lanes")
    if "turboserver" in sys.modules and not hasattr(lanes, "decide"):
        return []
    # type(), for a proxy that is asked for its __class__ may do anything.
    things = gc.get_objects()
    kinds = {kind for kind in {type(thing) for thing in things} if is_server_class(kind)}
    return [told for told in (described(thing, lanes) for thing in things if type(thing) in kinds) if told]


def is_server_class(kind):
    """By name, for pydoc imports modules anew."""
    return any((base.__module__, base.__name__) == ("socketserver", "BaseServer") for base in type.mro(kind)[:-1])


def described(server, lanes):
    try:
        sock = server.socket
        name = sock.getsockname()
        if sock.type == 1 and not sock.getsockopt(1, 30):   # SOCK_STREAM; SOL_SOCKET, SO_ACCEPTCONN (Linux)
            return None
    except (AttributeError, OSError):
        return None     # not bound yet, or closed
    lane, reasons = None, []
    if lanes is not None:
        decision = lanes.decide(server)
        lane = decision.lane
        reasons = [f"{reason.name}: {reason.where or reason.why}" for reason in decision.reasons]
        if lane == lanes.REACTOR and getattr(server, "_turbo_engine", None) is None:
            lane, reasons = lanes.BLOCKING, ["handle_request(): it does not call serve_forever()"]
    handler = server.RequestHandlerClass
    return {"class": f"{type(server).__module__}.{type(server).__qualname__}", "lane": lane, "reasons": reasons,
            "handler": getattr(handler, "__qualname__", type(handler).__qualname__),
            "port": name[1] if isinstance(name, tuple) else name}


answering = False


def answer(signum, frame):
    global answering
    if answering:
        return      # asked again in the midst of it
    answering = True
    path = os.path.join(FOLDER, str(os.getpid()))
    with open(path + ".new", "w") as file:
        try:
            file.write(repr(servers()))
        except Exception:
            file.write("[]")    # so early that what decides is not all there
    os.replace(path + ".new", path)
    answering = False


def may_be_asked():
    with open(os.path.join(FOLDER, f"{os.getpid()}.alive"), "w"):
        pass


if FOLDER:
    signal.signal(signal.SIGUSR2, answer)
    may_be_asked()
    os.register_at_fork(after_in_child=may_be_asked)
