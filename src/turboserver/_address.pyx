"""Socket addresses as Python knows them, made from what the kernel wrote.

What may not live here: resolving names; nothing here asks anybody.
"""

import os

from libc.stdint cimport uint16_t, uint32_t
from turboserver._native cimport TS_ADDR_TEXT, ts_addr, ts_addr_text


cdef extern from *:
    """
    static int ts_addr_family(const struct ts_addr *a)
    {
        return a->len >= sizeof a->u.sa.sa_family ? a->u.sa.sa_family : AF_UNSPEC;
    }
    """
    int ts_addr_family(const ts_addr *addr)
    enum:
        AF_INET
        AF_INET6
        AF_UNIX


cdef object address_of(const ts_addr *addr):
    cdef char text[TS_ADDR_TEXT]
    cdef uint16_t port = 0
    cdef uint32_t flow = 0
    cdef uint32_t scope = 0
    cdef int family = ts_addr_family(addr)
    cdef int n
    if family != AF_INET and family != AF_INET6 and family != AF_UNIX:
        return None
    n = ts_addr_text(addr, text, sizeof(text), &port, &flow, &scope)
    if n < 0:
        return None
    if family == AF_INET:
        return (text[:n].decode("ascii"), port)
    if family == AF_INET6:
        return (text[:n].decode("ascii"), port, flow, scope)
    if n > 0 and text[0] == 0:
        return text[:n]     # Linux: an abstract name
    return os.fsdecode(text[:n])
