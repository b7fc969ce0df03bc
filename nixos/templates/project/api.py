"""Counts its visits. `api` serve; `api migrate` makes the table, before each build goes live.

Kennel says where to listen, in HOST and PORT, and where the database is, in DATABASE_URL. In
development both may be left out: `python3 api.py` listens on port 8080 and counts for itself.
"""

import os
import sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COUNT = "INSERT INTO visits DEFAULT VALUES RETURNING id"
alone = 0


def connect():
    import psycopg

    return closing(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))


def visit():
    """Count one more visit, and return how many there were."""
    global alone
    if "DATABASE_URL" not in os.environ:
        alone += 1
        return alone
    with connect() as database:
        return database.execute(COUNT).fetchone()[0]


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            self.answer(200, "ok\n")
        elif self.path == "/":
            self.answer(200, f"This is visit {visit()}.\n")
        else:
            self.answer(404, "There is nothing here.\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    if sys.argv[1:] == ["migrate"]:
        with connect() as database:
            database.execute("CREATE TABLE IF NOT EXISTS visits (id serial PRIMARY KEY)")
        return
    address = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080"))
    ThreadingHTTPServer(address, Api).serve_forever()


main()
