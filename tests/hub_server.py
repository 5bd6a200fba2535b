"""hub_server.py - an imitation of the Hugging Face hub for tests: the model API and a content network behind redirects,
on two ports of this machine, able to misbehave in every way that a client has to survive.

    hub = HubServer()
    hub.add("acme/tiny", {"config.json": b"{}", "model.safetensors": data}, licence="mit")
    hub.fault("cut", after=1000, times=2, match="model.safetensors")
    ... HF_ENDPOINT=hub.url houle pull acme/tiny ...
    hub.close()

It also serves plain files at /plain/NAME (for pulls by address) and can act as an HTTP proxy."""
import functools
import hashlib
import json
import re
import socket
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = 10_000  # files from here on are kept by checksum and served by the content network


@functools.lru_cache(maxsize=None)
def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@functools.lru_cache(maxsize=None)
def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Fault:
    """Something that goes wrong `times` times on requests whose path contains `match`, on `where` ("hub" or "cdn").

    kind: status (code, headers), cut (after), stall (after), short_length, long_length, no_ranges, wrong_bytes,
    wrong_range, extra_bytes, compressed, call (do: a function that is called before the answer)"""

    def __init__(self, kind, times=1, match="", where="cdn", after=0, code=500, headers=None, do=None, skip=0):
        self.kind, self.times, self.match, self.where = kind, times, match, where
        self.after, self.code, self.headers, self.do, self.skip = after, code, headers or {}, do, skip
        self.lock = threading.Lock()

    def strikes(self, where, path):
        if where != self.where or self.match not in path:
            return False
        with self.lock:
            if self.times <= 0:
                return False
            if self.skip > 0:
                self.skip -= 1
                return False
            self.times -= 1
            return True


class Repo:
    def __init__(self, name, files, licence, gated, publisher):
        self.name, self.files, self.licence, self.gated, self.publisher = name, dict(files), licence, gated, publisher
        self.commit = hashlib.sha1(("commit of " + name + "".join(sorted(files))).encode() +
                                   "".join(sha256(files[f]) for f in sorted(files)).encode()).hexdigest()


class HubServer:
    def __init__(self):
        self.repos = {}       # name -> {revision: Repo}; "main" and each commit
        self.plain = {}       # files for pulls by address
        self.faults = []
        self.requests = []    # (where, path, headers as a dict)
        self.sent = {}        # path -> bytes of bodies sent by the content network
        self.open = 0         # answers that are being sent
        self.most_open = 0
        self.token = None     # what gated models want
        self.rate = 0         # bytes per second of each connection, 0 = no limit
        self.sizes = True     # whether the API tells sizes and checksums
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.servers = []
        self.hub_port = self.start("hub")
        self.cdn_port = self.start("cdn")
        self.url = "http://127.0.0.1:%d" % self.hub_port

    def start(self, where):
        handler = type("Handler", (Handler,), {"hub": self, "where": where})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *arguments: None  # clients are killed in the middle of everything
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.servers.append(server)
        return server.server_address[1]

    def close(self):
        self.closing.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, name, files, licence="apache-2.0", gated=False, publisher=None):
        repo = Repo(name, files, licence, gated, publisher or name.split("/")[0])
        revisions = self.repos.setdefault(name, {})
        revisions["main"] = revisions[repo.commit] = repo
        return repo

    def fault(self, kind, **options):
        self.faults.append(Fault(kind, **options))

    def reset(self):
        """Forgets faults and counts."""
        with self.lock:
            self.faults, self.requests, self.sent, self.rate, self.most_open = [], [], {}, 0, 0

    def sent_bytes(self, match=""):
        with self.lock:
            return sum(n for path, n in self.sent.items() if match in path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None
    where = ""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        hub, path = self.hub, urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if self.path.startswith("http://"):
            return self.proxy()
        with hub.lock:
            hub.requests.append((self.where, self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.struck = [f for f in hub.faults if f.strikes(self.where, path)]
        for fault in self.struck:
            if fault.kind == "call":
                fault.do()
            if fault.kind == "status":
                return self.answer(fault.code, b"no\n", fault.headers)
        try:
            if self.where == "cdn":
                self.content(path)
            elif path.startswith("/api/models/"):
                self.model(path)
            elif path.startswith("/plain/"):
                self.plain(path)
            else:
                self.resolve(path)
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
            self.close_connection = True

    def answer(self, code, body, headers=None):
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code, error, message):
        self.answer(code, b"", {"X-Error-Code": error, "X-Error-Message": message})

    def authorized(self):
        return self.headers.get("Authorization") == "Bearer %s" % self.hub.token

    def find(self, name, revision):
        if name not in self.hub.repos:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        repo = self.hub.repos[name].get(revision)
        if repo is None:
            self.refuse(404, "RevisionNotFound", "Invalid rev id: " + revision)
        return repo

    # GET /api/models/OWNER/NAME[/revision/REV]
    def model(self, path):
        parts = path.split("/")[3:]
        repo = self.find("/".join(parts[:2]), "/".join(parts[3:]) or "main")
        if repo is None:
            return
        siblings = []
        for name, data in repo.files.items():
            entry = {"rfilename": name}
            if self.hub.sizes:
                entry["size"] = len(data)
                if len(data) < LARGE:
                    entry["blobId"] = git_sha1(data)
                else:
                    entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(entry)
        body = {"id": repo.name, "modelId": repo.name, "author": repo.publisher, "sha": repo.commit,
                "gated": "auto" if repo.gated else False, "disabled": False, "private": False,
                "tags": ["license:" + repo.licence], "cardData": {"license": repo.licence}, "siblings": siblings}
        self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    # GET /OWNER/NAME/resolve/REV/FILE
    def resolve(self, path):
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if match is None:
            return self.refuse(404, "EntryNotFound", "nothing here")
        repo = self.find(match[1], match[2])
        if repo is None:
            return
        if repo.gated and not self.authorized():
            code = 403 if "Authorization" in self.headers else 401
            return self.refuse(code, "GatedRepo", "Access to model %s is restricted." % repo.name)
        data = repo.files.get(match[3])
        if data is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repo.commit}
        if len(data) < LARGE:
            headers["ETag"] = '"%s"' % git_sha1(data)
            return self.send_data(match[3], data, headers)
        headers.update({"X-Linked-Size": str(len(data)), "X-Linked-Etag": '"%s"' % sha256(data),
                        "Location": "http://127.0.0.1:%d/%s/%s/%s?signature=x" % (
                            self.hub.cdn_port, repo.commit, repo.name, urllib.parse.quote(match[3]))})
        self.answer(302, b"over there\n", headers)

    # GET /COMMIT/OWNER/NAME/FILE on the other port
    def content(self, path):
        _, commit, owner, name, file = path.split("/", 4)
        data = self.hub.repos[owner + "/" + name][commit].files[file]
        self.send_data(file, data, {"ETag": '"%s"' % sha256(data)[:32]})

    def plain(self, path):
        data = self.hub.plain.get(path[len("/plain/"):])
        if data is None:
            return self.answer(404, b"nothing here\n")
        self.send_data(path, data, {"ETag": '"%s"' % sha256(data)[:32]})

    def send_data(self, name, data, headers):
        kinds = {f.kind: f for f in self.struck}
        start, end, code = 0, len(data), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", ""))
        if asked and "no_ranges" not in kinds:
            start, end, code = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data)), 206
            if start >= len(data):
                return self.answer(416, b"", {"Content-Range": "bytes */%d" % len(data)})
        if "wrong_range" in kinds:
            start = max(start - 1, 0)
        body = memoryview(data)[start:end]
        if "wrong_bytes" in kinds:
            body = bytearray(body)
            body[len(body) // 2] ^= 0x40
        if "extra_bytes" in kinds:
            body = bytes(body) + b"more than was asked for" * 100
        length = len(body)
        if "short_length" in kinds:
            body = body[:length // 2]
        if "long_length" in kinds:
            length += 1000
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        if "compressed" in kinds:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(length if "short_length" not in kinds else len(body)))
        if code == 206:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, end - 1, len(data)))
        self.end_headers()
        limit = min([f.after for f in self.struck if f.kind in ("cut", "stall")], default=None)
        self.pump(name, body, limit)
        if limit is not None and "stall" in kinds:
            self.hub.closing.wait(60)
        if limit is not None or length != len(body):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def pump(self, name, body, limit):
        hub = self.hub
        with hub.lock:
            hub.open += 1
            hub.most_open = max(hub.most_open, hub.open)
        try:
            piece = 65536 if hub.rate == 0 else max(1024, hub.rate // 50)
            end = len(body) if limit is None else min(limit, len(body))
            for at in range(0, end, piece):
                n = min(piece, end - at)
                self.wfile.write(body[at:at + n])
                with hub.lock:
                    hub.sent[name] = hub.sent.get(name, 0) + n
                if hub.rate > 0:
                    time.sleep(n / hub.rate)
        finally:
            with hub.lock:
                hub.open -= 1

    # A request for a whole address: this server is used as a proxy.
    def proxy(self):
        target = urllib.parse.urlsplit(self.path)
        with self.hub.lock:
            self.hub.requests.append(("proxy", self.path, {k.lower(): v for k, v in self.headers.items()}))
        import http.client
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=20)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("proxy-connection", "connection")}
        connection.request("GET", target.path + ("?" + target.query if target.query else ""), headers=headers)
        reply = connection.getresponse()
        body = reply.read()
        self.send_response(reply.status)
        for key, value in reply.getheaders():
            if key.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()
