"""`turboserver wsgi MODULE:APP`: what stands between a WSGI application and its deployment.

The files in the order of the data: command.py (what is asked for), binds.py (sockets), workers.py (processes;
reload.py watches files for it), serve.py (what one process does), adopting.py (its servers and their end; the file
server has the same), application.py (the application), forwarded.py (what a proxy says of the client), access_log.py
(what is written of each answer); signals.py is how processes hear signals, notify.py what a service manager hears of
them. Pure Python; the engine is behind turboserver.wsgiref.simple_server.
"""


class DeployError(Exception):
    """Something that the one who typed the command can mend; its text is one line."""
