"""A browser for tests: Debian's Chromium without a window, driven through its DevTools protocol, and a small server whose
pages it shows. What it speaks is JSON, a message ending with a zero byte, over two pipes (--remote-debugging-pipe)."""
import fcntl
import http.server
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time

PROGRAM = "chromium-headless-shell"
PATIENCE = 50  # seconds, after which something hangs


class Pages:
    """Serves pages on a free port of this machine, by their paths. 127.0.0.1 and localhost are two origins of it."""
    def __init__(self, pages):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page = pages.get(self.path.split("?")[0])
                body = (page or "not here").encode()
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.origin, self.other_origin = ("http://%s:%d" % (h, self.server.server_port) for h in ("127.0.0.1", "localhost"))

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Browser:
    """One page of it. Not for several threads."""
    def __init__(self):
        program = shutil.which(PROGRAM)
        if program is None:
            raise AssertionError("%s is not here: tools/setup --tests installs it" % PROGRAM)
        self.directory = tempfile.mkdtemp(prefix="cairn-browser-")
        from_us, self.to = os.pipe()
        self.out, from_it = os.pipe()
        # It reads from 3 and writes to 4: a shell moves ours there, from numbers that are out of the way.
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (from_us, from_it)]
        self.process = subprocess.Popen(
            ["bash", "-c", 'exec 3<&"$1"- 4>&"$2"-; shift 2; exec "$@"', "bash", *map(str, moved), program,
             "--remote-debugging-pipe", "--user-data-dir=" + self.directory, "--no-proxy-server", "--disable-gpu",
             "--disable-dev-shm-usage", "--mute-audio", "--no-first-run", "--autoplay-policy=no-user-gesture-required"] +
            (["--no-sandbox"] if os.getuid() == 0 else []) + ["about:blank"],  # which root cannot have
            pass_fds=moved, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=dict(os.environ, HOME=self.directory))
        for end in (from_us, from_it, *moved):
            os.close(end)
        self.unread, self.number, self.session, self.events = b"", 0, None, []
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Runtime", "DOM"):
                self.call(domain + ".enable")
        except BaseException:
            self.stop()
            raise

    def message(self):
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.unread:
            if not select.select([self.out], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self.out, 1 << 20)
            if not part:
                raise EOFError("the browser ended")
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError((method, answer["error"]))
                return answer["result"]
            self.events.append(answer)

    def told(self, method):
        """What it told of this since the page was opened."""
        return [e["params"] for e in self.events if e.get("method") == method]

    def wait_for(self, method):
        while not self.told(method):
            self.events.append(self.message())

    def open(self, url):
        self.events = []
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression, **how):
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, **how)
        if "exceptionDetails" in done:
            raise AssertionError(done["exceptionDetails"]["exception"].get("description", done["exceptionDetails"]))
        return done["result"]

    def run(self, script, *arguments):
        """The value that an async function of these arguments ($0, $1, …) returns in the page."""
        names = ", ".join("$%d" % i for i in range(len(arguments)))
        return self.evaluate("(async (%s) => {%s})(%s)" % (names, script, ", ".join(json.dumps(a) for a in arguments)),
                             returnByValue=True).get("value")

    def choose_file(self, selector, path):
        field = self.evaluate("document.querySelector(%s)" % json.dumps(selector))["objectId"]
        self.call("DOM.setFileInputFiles", files=[path], objectId=field)

    def stop(self):
        self.session = None
        try:
            self.call("Browser.close")
        except (AssertionError, EOFError, OSError):  # a TimeoutError is an OSError
            self.process.kill()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.out)
        shutil.rmtree(self.directory, ignore_errors=True)
