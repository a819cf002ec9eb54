"""A gateway of the kind that teams put in front of a Chroma server: encrypted, with client certificates, a token
and a path. Arguments: its port, the server's port, the path, and a folder with certificate.pem, key.pem,
authority.pem and tokens (a token a line). What it refuses it writes down in the folder's file `refused`."""

import http.client
import http.server
import pathlib
import ssl
import sys

port, server, prefix, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])
OF_A_CONNECTION = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        tokens = (folder / "tokens").read_text().split()
        shown = self.headers.get_all("authorization", [])
        if len(shown) != 1 or shown[0].removeprefix("Bearer ") not in tokens or not self.path.startswith(prefix + "/"):
            with (folder / "refused").open("a") as file:
                print(self.path, len(shown), file=file)
            return self.answer(403, [], b"{}")
        upstream = http.client.HTTPConnection("127.0.0.1", server, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_A_CONNECTION}
        try:
            upstream.request(self.command, self.path.removeprefix(prefix), body or None, headers)
            answer = upstream.getresponse()
            self.answer(answer.status, answer.getheaders(), answer.read())
        except OSError:
            self.close_connection = True
        finally:
            upstream.close()

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in OF_A_CONNECTION | {"content-length"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def get_request(self):
        connection, address = super().get_request()
        # A context of its own for each connection, so that a new certificate is taken at once.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        context.load_verify_locations(folder / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_):
        pass


Server(("127.0.0.1", port), Gateway).serve_forever()
