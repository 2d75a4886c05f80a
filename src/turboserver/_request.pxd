from turboserver._connection cimport Connection

cdef bint parse_plain(Connection conn) except -1
