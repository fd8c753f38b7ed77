"""A server on loopback that shows request targets as they came, byte for byte, and answers with raw bytes.

    with raw_site({b"/a%2Fb": http(b"body")}) as site:
        site.base                       # http://127.0.0.1:PORT
    site.targets                        # [b"/a%2Fb"], robots.txt left out

Web frameworks decode targets before one sees them. Whatever is not among the answers is 403, as a signed
address is that was rewritten on its way; robots.txt is 404.
"""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def http(body: bytes = b"", status: str = "200 OK", **headers: str | bytes) -> bytes:
    """A response; `content_encoding="gzip"` is a header."""
    lines = [f"HTTP/1.1 {status}".encode(), f"Content-Length: {len(body)}".encode()]
    for name, value in headers.items():
        value = value if isinstance(value, bytes) else value.encode()
        lines.append(name.replace("_", "-").title().encode() + b": " + value)
    return b"\r\n".join([*lines, b"", body])


def moved(location: str | bytes) -> bytes:
    """A redirect."""
    return http(status="302 Found", location=location)


class RawSite(socketserver.ThreadingTCPServer):
    """`answers`: target -> response."""

    daemon_threads = True

    def __init__(self, answers: Mapping[bytes, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers = dict(answers)
        self.targets: list[bytes] = []
        self.heads: list[bytes] = []  # whole requests

    def shutdown_request(self, request: object) -> None:
        """Closes without waiting for the other side."""
        self.close_request(request)  # type: ignore[arg-type]


class _Handler(socketserver.StreamRequestHandler):
    server: RawSite

    def handle(self) -> None:
        while line := self.rfile.readline():
            head = line
            while line not in (b"\r\n", b""):
                line = self.rfile.readline()
                head += line
            target = head.split(b"\r\n")[0].removeprefix(b"GET ").removesuffix(b" HTTP/1.1")
            if target == b"/robots.txt":
                self.wfile.write(MISSING)
                continue
            self.server.targets.append(target)
            self.server.heads.append(head)
            self.wfile.write(self.server.answers.get(target, REFUSED))


@contextmanager
def raw_site(answers: Mapping[bytes, bytes]) -> Iterator[RawSite]:
    """The server, running."""
    with RawSite(answers) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
