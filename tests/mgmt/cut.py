"""A wire between client and host that ends."""
import socket
import threading
import time


class Wire:
    """Passes what comes at `address` on to `port`. The first connections end after as many bytes to the host as
    `limits` says, further ones don't, but take `slow` seconds for 8 KiB. With `vanish` both ends just hear
    nothing more."""

    def __init__(self, port, limits, vanish=False, slow=0):
        self.port, self.limits, self.vanish, self.slow = port, list(limits), vanish, slow
        self.sent = []  # bytes to the host, of each connection
        self.over = threading.Event()  # some connection reached its limit
        self._held = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%u" % self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._listener.close()
        for s in self._held:
            s.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            host = socket.create_connection(("127.0.0.1", self.port))
            self._held += [client, host]
            n = len(self.sent)
            self.sent.append(0)
            limit = self.limits[n] if n < len(self.limits) else None
            threading.Thread(target=self._back, args=(host, client), daemon=True).start()
            threading.Thread(target=self._forth, args=(client, host, n, limit), daemon=True).start()

    def _forth(self, client, host, n, limit):
        try:
            while data := client.recv(8192 if limit is None else min(8192, limit - self.sent[n])):
                time.sleep(self.slow if limit is None else 0)
                host.sendall(data)
                self.sent[n] += len(data)
                if self.sent[n] == limit:
                    break
        except OSError:
            pass
        if self.sent[n] == limit:
            self.over.set()
            if self.vanish:
                return
        for s in (client, host):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _back(self, host, client):
        try:
            while data := host.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
