"""A stand-in for the Hugging Face hub: repositories in memory behind its interface."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

LFS_FROM = 10_000  # Bytes from which a file goes the way of large ones.


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by name, each a dict of files; and what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories, self.large, self.asked = {}, {}, []
        self.commits = {}

    def commit(self, name):
        content = repr(sorted(self.repositories[name].items())).encode()
        self.commits[name] = hashlib.sha1(content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what the client asks to make, fill and read a repository."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):  # noqa: N802
        self.answer("HEAD")

    def do_GET(self):  # noqa: N802
        self.answer("GET")

    def do_POST(self):  # noqa: N802
        self.answer("POST")

    def do_PUT(self):  # noqa: N802
        self.answer("PUT")

    def log_message(self, *args):
        pass

    def answer(self, method):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.asked.append((method, path))
        for verb, pattern, function in ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                function(self, body, *match.groups())
                return
        self.error(404, "EntryNotFound")

    def reply(self, content, status=200, **headers):
        content = (
            content if isinstance(content, bytes) else json.dumps(content).encode()
        )
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def error(self, status, code):
        self.reply({"error": code}, status, X_Error_Code=code)

    def files(self, name):
        found = self.server.repositories.get(name)
        if found is None:
            self.error(404, "RepoNotFound")
        return found

    def create(self, body):
        fields = json.loads(body)
        name = f"{fields['organization']}/{fields['name']}"
        if self.headers.get("Authorization") != "Bearer hf_right":
            self.error(401, "Unauthorized")
        elif name in self.server.repositories:
            self.reply({"url": f"{self.server.url}/{name}"}, 409)
        else:
            self.server.repositories[name] = {".gitattributes": b"*.safetensors lfs"}
            self.server.commit(name)
            self.reply({"url": f"{self.server.url}/{name}", "name": name})

    def validate(self, body):
        """Looks at the metadata of a card, which are JSON in YAML here."""
        content = json.loads(body)["content"].split("---\n")[1]
        pairs = dict(line.split(": ", 1) for line in content.splitlines())
        ok = json.loads(pairs["license"]) and json.loads(pairs["model-index"])
        errors = [] if ok else [{"message": "no license or no model-index"}]
        self.reply({"errors": errors, "warnings": []})

    def tree(self, body, name):
        if (found := self.files(name)) is not None:
            entries = [
                {"type": "file", "path": k, "size": len(v), "oid": _git_sum(v)}
                for k, v in found.items()
            ]
            self.reply(entries)

    def information(self, body, name):
        if (found := self.files(name)) is not None:
            siblings = [{"rfilename": file} for file in found]
            commit = self.server.commits[name]
            self.reply({"id": name, "sha": commit, "siblings": siblings})

    def modes(self, body, name):
        asked = json.loads(body)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] >= LFS_FROM else "regular",
                "shouldIgnore": False,
            }
            for file in asked
        ]
        self.reply({"files": modes})

    def batch(self, body, name):
        objects = json.loads(body)["objects"]
        for entry in objects:
            href = f"{self.server.url}/storage/{entry['oid']}"
            if entry["oid"] not in self.server.large:
                entry["actions"] = {"upload": {"href": href}}
        self.reply({"transfer": "basic", "objects": objects})

    def store(self, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        self.reply(b"")

    def change(self, body, name):
        files = dict(self.server.repositories[name])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.server.repositories[name] = files
        self.server.commit(name)
        url = f"{self.server.url}/{name}/commit/{self.server.commits[name]}"
        self.reply({"commitUrl": url, "commitOid": self.server.commits[name]})

    def resolve(self, body, name, file):
        if (found := self.files(name)) is None:
            return
        if file not in found:
            self.error(404, "EntryNotFound")
            return
        content = found[file]
        start = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=")
        start = int(start.partition("-")[0])
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X_Repo_Commit": self.server.commits[name],
            "X_Linked_Size": str(len(content)),
        }
        if start:
            headers["Content_Range"] = (
                f"bytes {start}-{len(content) - 1}/{len(content)}"
            )
        self.reply(content[start:], 206 if start else 200, **headers)


def _git_sum(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def running():
    """Gives a stand-in that answers until the block ends."""
    with Hub() as hub:
        thread = threading.Thread(
            target=hub.serve_forever, kwargs={"poll_interval": 0.02}
        )
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET", rf"/api/models/{_NAME}/tree/[^/]+", Handler.tree),
    ("GET", rf"/api/models/{_NAME}(?:/revision/[^/]+)?", Handler.information),
    ("POST", rf"/api/models/{_NAME}/preupload/[^/]+", Handler.modes),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/storage/(\w+)", Handler.store),
    ("POST", rf"/api/models/{_NAME}/commit/[^/]+", Handler.change),
    ("GET", rf"/{_NAME}/resolve/[^/]+/(.+)", Handler.resolve),
    ("HEAD", rf"/{_NAME}/resolve/[^/]+/(.+)", Handler.resolve),
]
