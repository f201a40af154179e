"""The receiver of scripts/webhook-check: takes real deliveries and verifies them with the public library."""

import base64
import http.server
import json
import sys
import threading
import urllib.request
from importlib.metadata import version

from standardwebhooks import Webhook, WebhookVerificationError

SERVER, TOKEN = sys.argv[1:]
WAIT_SECONDS = 60


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps every request as it came. Refuses the first one of each event, so that every event is sent twice."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.changed = threading.Condition()
        self.requests = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, headers, body):
        with self.changed:
            is_first = all(headers["webhook-id"] != earlier["webhook-id"] for earlier, _ in self.requests)
            self.requests.append((headers, body))
            self.changed.notify_all()
            return 500 if is_first else 204

    def wait(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.requests) >= count, WAIT_SECONDS):
                sys.exit(f"webhook-check: {len(self.requests)} of {count} requests came")
            return list(self.requests)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.take({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVER + path, data, {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


checked = 0


def expect(is_so, what):
    global checked
    checked += 1
    if not is_so:
        sys.exit(f"webhook-check: NOT AS EXPECTED: {what}")


def verifies(secret, headers, body):
    try:
        return Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return None


def expect_signed(secret, headers, body, name):
    """Verified as it came, and in no other form."""
    event = verifies(secret, headers, body)
    expect(event is not None, f"the library takes the delivery of {name}")
    expect(event["id"] == headers["webhook-id"] and event["data"]["changes"]["name"]["new"] == name, "what it returns is the event")
    flipped = bytes([body[-2] ^ 1]).join([body[:-2], body[-1:]])
    seconds = int(headers["webhook-timestamp"])
    signature = headers["webhook-signature"].split(" ")[0]
    raw = bytearray(base64.b64decode(signature.removeprefix("v1,")))
    raw[0] ^= 1
    tampered = {
        "a byte of the body": (headers, flipped), "no body": (headers, b""), "one byte more": (headers, body + b" "),
        "another id": ({**headers, "webhook-id": headers["webhook-id"][:-1] + "z"}, body),
        "a later second": ({**headers, "webhook-timestamp": str(seconds + 1)}, body),
        "ten minutes earlier": ({**headers, "webhook-timestamp": str(seconds - 600)}, body),
        "ten minutes later": ({**headers, "webhook-timestamp": str(seconds + 600)}, body),
        "a bit of the signature": ({**headers, "webhook-signature": "v1," + base64.b64encode(bytes(raw)).decode()}, body),
        "another version": ({**headers, "webhook-signature": "v2" + signature[2:]}, body),
        "no signature": ({**headers, "webhook-signature": ""}, body),
    }
    for what, (changed, content) in tampered.items():
        expect(verifies(secret, changed, content) is None, f"refused: {what}")


def main():
    receiver = Receiver()
    url = f"http://127.0.0.1:{receiver.server_address[1]}/hook"
    secret = ask("/v1/consumers", {"name": "check", "url": url, "kinds": ["client.created"]})["secret"]
    stranger = "whsec_" + base64.b64encode(b"s" * 32).decode()

    # Before: one signature, on both attempts at each event, under one id.
    names = ["Harbor Hotel", "Élan Café", 'O\'Brien & "Sons" \u2028\U0001f6a2', "x" * 200]
    for name in names:
        ask("/v1/client", {"name": name})
    requests = receiver.wait(2 * len(names))
    for place, (headers, body) in enumerate(requests):
        expect(len(headers["webhook-signature"].split(" ")) == 1, "one secret, one signature")
        expect_signed(secret, headers, body, names[place // 2])
        expect(verifies(stranger, headers, body) is None, "refused: another secret")
    for (first, body), (second, again) in zip(requests[::2], requests[1::2]):
        expect(first["webhook-id"] == second["webhook-id"] and body == again, "attempts at one event are alike")

    # While the secret is rotated: two signatures, and either secret verifies.
    rotated = ask("/v1/consumers/check/rotate-secret", {})["secret"]
    expect(rotated != secret, "the secret is another one")
    ask("/v1/client", {"name": "Quay"})
    for headers, body in receiver.wait(2 * len(names) + 2)[2 * len(names):]:
        signatures = headers["webhook-signature"].split(" ")
        expect(len(signatures) == 2 and len(set(signatures)) == 2, "two secrets, two signatures")
        expect_signed(rotated, headers, body, "Quay")
        expect(verifies(secret, headers, body) is not None, "who has not heard of the new secret verifies with the old one")
        expect(verifies(stranger, headers, body) is None, "refused: another secret")
        # Each of the two is right by itself: the new one first.
        for signature, right, wrong in zip(signatures, [rotated, secret], [secret, rotated]):
            alone = {**headers, "webhook-signature": signature}
            expect(verifies(right, alone, body) is not None and verifies(wrong, alone, body) is None, "each secret has its signature")
    total = len(receiver.wait(0))
    print(f"webhook-check: {total} requests verified with standardwebhooks {version('standardwebhooks')}, {checked} checks")


main()
