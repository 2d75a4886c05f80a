from turboserver._native cimport ts_addr

# The address as socket.accept() and recvfrom() give it.
cdef object address_of(const ts_addr *addr)
