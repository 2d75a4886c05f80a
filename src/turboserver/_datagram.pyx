"""Datagrams in batches: several of them out of the kernel in one call.

What may not live here: who handles them.
"""

from libc.errno cimport EAGAIN, EINTR
from libc.stdlib cimport free, malloc
from cpython.bytes cimport PyBytes_FromStringAndSize
from turboserver._address cimport address_of
from turboserver._channel cimport os_error
from turboserver._native cimport TS_RECV_BATCH, ts_datagram, ts_recv_batch


# Space for one batch: more datagrams of a small max_packet_size, fewer of a large one.
cdef enum:
    BATCH_OCTETS = 524288


def receive_batch(int fd, Py_ssize_t max_packet_size):
    """The datagrams queued on a socket, as a list of (data, address): up to 64, and at
    least one. Longer ones are cut at max_packet_size octets, as by recvfrom().

    Raises BlockingIOError if none is queued, OSError.
    """
    cdef ts_datagram batch[TS_RECV_BATCH]
    cdef Py_ssize_t each = max_packet_size if max_packet_size > 0 else 1
    cdef int most = <int>min(<Py_ssize_t>TS_RECV_BATCH, max(<Py_ssize_t>1, BATCH_OCTETS // each))
    cdef char *space = <char *>malloc(most * each)
    cdef int count, i
    cdef Py_ssize_t length
    cdef list result = []
    if space == NULL:
        raise MemoryError
    try:
        count = ts_recv_batch(fd, batch, most, space, each)
        if count < 0:
            raise os_error(-count)
        for i in range(count):
            length = min(<Py_ssize_t>batch[i].len, max_packet_size)
            result.append((PyBytes_FromStringAndSize(batch[i].data, length),
                           address_of(&batch[i].addr)))
        return result
    finally:
        free(space)
