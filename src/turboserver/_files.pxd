"""Answers with files that were sent before (see _files.pyx)."""

from turboserver._connection cimport Connection


cdef bint answer_with_file(Connection conn) except -1
