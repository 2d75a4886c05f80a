"""Whether a handler's own __init__ ends with super().__init__(...), read from its bytecode.

The original's BaseRequestHandler.__init__ serves the whole connection, so what an
__init__ does after that call happens when the connection has ended. In the reactor lane
the call returns at once; nobody can tell if nothing comes after it. This is proved, not
guessed: whatever is not one plain call at the end is a doubt, and a doubt costs no more
than the faster lane.

Reads code objects (3.11 and later) and runs none of the program's code. No state. What
may not live here: which classes are known, and what a doubt leads to (lanes.py).
"""

import dis
import inspect
import sys
import types

__all__ = ["doubt_about_init"]

# What may follow the call: drop its result, return None.
_DISCARDS = {"POP_TOP", "NOP", "RETURN_VALUE"}
_CONSTANTS = {"LOAD_CONST", "LOAD_COMMON_CONSTANT", "RETURN_CONST"}
_CALLS = {"CALL", "CALL_KW"}


def doubt_about_init(function, handler):
    """Why it cannot be proved that `function` ends with super().__init__(); "" if it can."""
    unproved = "not provable that super().__init__() ends it: "
    if not isinstance(function, types.FunctionType):
        return unproved + "it is no plain function"
    code = function.__code__
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return unproved + "it is a generator or coroutine"
    if code.co_exceptiontable:
        return unproved + "it has try, with or a comprehension"
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG")]
    if any(_is_jump(step) and step.argval <= step.offset for step in steps):
        return unproved + "it has a loop"
    loads = [i for i, step in enumerate(steps)
             if step.argval == "__init__" and step.opname.startswith("LOAD_")
             and step.opname not in _CONSTANTS]
    if not loads:
        return "it does not call super().__init__() itself"
    if len(loads) > 1:
        return unproved + "__init__ is looked up more than once"
    if not _loads_own_init(steps, loads[0], function, handler):
        return unproved + "that __init__ may be another object's"
    call = _call_of(steps, loads[0])
    if call is None:
        return unproved + "the call is not straightforward"
    for step in steps[call + 1:]:
        if step.opname not in _DISCARDS and not (step.opname in _CONSTANTS and step.argval is None):
            return "something happens after super().__init__()"
    return ""


def _is_jump(step):
    return step.opcode in dis.hasjrel or step.opcode in dis.hasjabs


def _loads_own_init(steps, at, function, handler):
    """Whether the __init__ loaded at steps[at] is super()'s, or that of a class in the MRO."""
    code = function.__code__
    if not code.co_argcount:
        return False
    this = code.co_varnames[0]
    if any(step.opname in ("STORE_FAST", "STORE_DEREF") and step.argval == this for step in steps):
        return False
    before = steps[:at]
    if steps[at].opname == "LOAD_SUPER_ATTR":
        return "super" not in function.__globals__ and before[-1].argval == this
    if before[-1].opname == "CALL":                     # 3.11: super() is an ordinary call
        arguments = before[-1].arg
        before = before[:-2]
        if arguments == 2:                              # super(TheClass, self)
            if before[-1].argval != this:
                return False
            before = before[:-1]
            while before and before[-1].opname == "LOAD_ATTR":
                before.pop()
            before = before[:-1]
        return (arguments in (0, 2) and bool(before) and before[-1].opname == "LOAD_GLOBAL"
                and before[-1].argval == "super" and "super" not in function.__globals__)
    path = []                                           # TheClass.__init__(self, ...)
    while before and before[-1].opname == "LOAD_ATTR":
        path.insert(0, before.pop().argval)
    if not before or before[-1].opname != "LOAD_GLOBAL":
        return False
    found = function.__globals__.get(before[-1].argval)
    for name in path:                                   # modules and classes only: no code runs
        if not isinstance(found, (types.ModuleType, type)):
            return False
        found = inspect.getattr_static(found, name, None)
    if not isinstance(found, type) or found not in handler.__mro__:
        return False
    first = next((step.argval for step in steps[at + 1:] if step.opname != "PUSH_NULL"), None)
    return first == this or (isinstance(first, tuple) and first[0] == this)


def _call_of(steps, load):
    """Index of the instruction that calls what steps[load] put on the stack, or None.

    Follows the depth of the stack from there: the first instruction that takes it
    below what a pending call needs is the one that used the callable up, and where
    its result lies tells whether it called it. A method load leaves two entries
    (callable and self) and is used by an ordinary call only; another load leaves one.
    """
    method = (steps[load].opname == "LOAD_METHOD"
              or steps[load].opname == "LOAD_SUPER_ATTR" and steps[load].arg & 1
              or steps[load].opname == "LOAD_ATTR" and sys.version_info >= (3, 12) and steps[load].arg & 1)
    # Below the callable of f(*args) lies a NULL up to 3.12, above it from 3.13 on.
    result = -1 if method or sys.version_info < (3, 13) else 0
    lowest = -1 if method else 0
    depth = 0
    for i in range(load + 1, len(steps)):
        step = steps[i]
        if _is_jump(step):
            return None
        depth += dis.stack_effect(step.opcode, step.arg, jump=False)
        if depth <= lowest and step.opname not in ("KW_NAMES", "NOP"):
            calls = _CALLS if method else ("CALL_FUNCTION_EX",)
            return i if step.opname in calls and depth == result else None
    return None
