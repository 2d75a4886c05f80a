"""For the processes of tests/test_files_command.py and test_files_serving.py: another default port, and packages that
are not there."""
import os
import sys

if "TEST_DEFAULT_PORT" in os.environ:
    from turboserver.files import arguments
    arguments.PORT = int(os.environ["TEST_DEFAULT_PORT"])

if "TEST_WITHOUT" in os.environ:        # names of packages that are not to be found
    for name in os.environ["TEST_WITHOUT"].split(","):
        sys.modules[name] = None
