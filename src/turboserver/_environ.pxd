"""The WSGI environ of a request in the engine's buffer (see _environ.pyx)."""

from turboserver._connection cimport Connection


# What is the same for all requests of a server: copied for each.
cdef dict template_of(object os_environ, bint multithread, bint multiprocess, object url_scheme, object software)

# The environ of the present request. template: of template_of(), without wsgi.input and
# what else the request has a say in. base: the server's base_environ. underscores: names
# of fields with an underscore are kept.
cdef dict environ_of(Connection conn, dict template, object base, bint underscores)
