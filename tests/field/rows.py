"""All rows, in the order of the table."""
import rows_documents
import rows_large
import rows_library
import rows_lines
import rows_patched
import rows_web

ROWS = [*rows_library.ROWS, *rows_web.ROWS, *rows_documents.ROWS, *rows_lines.ROWS, *rows_large.ROWS,
        *rows_patched.ROWS]


def named(name):
    """The row of this name."""
    found, = (row for row in ROWS if row.name == name)
    return found
