"""What the file server knows of files, apart from HTTP.

For the folder page, in the order of the data: folder.py (what is in a folder, in which order, and which part of
it is asked for), names.py (what becomes of a name: a URL, a text, a kind), page.py (the page for people, from
page.html, page.css and page.js) and as_json.py (the same for programs).

Pure Python. What may not live here: sockets and handlers; bytes go to whoever asked.
"""
