import asyncio

import pytest

from lipsync_jax import web_guard


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"secret"})


def answer(headers, kind="http", method="GET", **options):
    """Returns the first message that an app behind a guard sends."""
    hosts = options.pop("hosts", web_guard.host_names("127.0.0.1"))
    guard = web_guard.Guard(app, hosts, 1000, **options)
    messages = []

    async def send(message):
        messages.append(message)

    async def receive():
        raise AssertionError("the request was read")

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(guard({"type": kind, "method": method, "headers": raw}, receive, send))
    return messages[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:7861"}, 200),
        ({"host": "localhost:7861", "origin": "http://localhost:7861"}, 200),
        ({"host": "[::1]:7861"}, 200),
        ({"host": "evil.example:7861"}, 403),  # a name that resolves to this machine
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({}, 403),
        ({"host": "[::1"}, 403),
        ({"host": "127.0.0.1:7861", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1:7861", "origin": "http://127.0.0.1:8000"}, 403),
        ({"host": "127.0.0.1:7861", "origin": "null"}, 403),
    ],
)
def test_only_this_servers_name_and_pages_are_answered(headers, status):
    assert answer(headers)["status"] == status


def test_a_foreign_page_opens_no_websocket():
    own = {"host": "localhost:1", "origin": "http://localhost:1"}
    assert answer(own, "websocket")["type"] == "websocket.accept"
    foreign = {"host": "localhost:1", "origin": "http://evil.example"}
    assert answer(foreign, "websocket") == {
        "type": "websocket.close",
        "code": 1008,
        "reason": "requests from pages of http://evil.example are refused",
    }


def test_large_bodies_are_refused_unread():
    headers = {"host": "localhost", "content-length": "1001"}
    assert answer(headers, method="POST")["status"] == 413
    assert answer({**headers, "content-length": "1000"}, method="POST")["status"] == 200


def test_pages_that_may_show_the_page_in_a_frame_are_named(monkeypatch):
    def policy(headers):
        return dict(answer(headers)["headers"])[b"content-security-policy"].decode()

    for host in ("localhost", "evil.example"):  # answered, and refused
        assert policy({"host": host}).endswith("; frame-ancestors 'self'")
    monkeypatch.setenv(web_guard.FRAMES_VARIABLE, "https://huggingface.co, http://lan:80,")
    for host in ("localhost", "evil.example"):
        assert policy({"host": host}).endswith(" 'self' https://huggingface.co http://lan:80")
    monkeypatch.setenv(web_guard.FRAMES_VARIABLE, "https://a.example; script-src *")
    with pytest.raises(ValueError, match=r"LIPSYNC_FRAMED_BY=.* is no origin; give such as https"):
        answer({"host": "localhost"})


def test_a_wildcard_address_is_no_name(monkeypatch):
    monkeypatch.setenv(web_guard.HOSTS_VARIABLE, "studio.lan, ")
    assert web_guard.host_names("0.0.0.0") == {"127.0.0.1", "localhost", "::1", "studio.lan"}
    assert not web_guard.is_local("0.0.0.0") and web_guard.is_local("127.0.0.2")
