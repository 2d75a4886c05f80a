"""Django's manage.py for sites/django_site.py."""
import sys

import django_site  # noqa: F401  (it configures the settings)
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
