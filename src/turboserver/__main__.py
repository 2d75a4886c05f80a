"""`python -m turboserver`: the same as the command `turboserver`."""

import sys

from turboserver.cli import main

sys.exit(main())
