"""Objects in S3 and behind HTTP, through obstore, against a server of our own that fails as it is told."""

from __future__ import annotations

import io
import os

import pytest
from shared_machines import set_credentials
from store_server import StoreServer, serving

from qairt.engine.shared_store.cloud_objects import CloudObjects
from qairt.engine.shared_store.objects import Missing, Unavailable
from qairt.engine.shared_store.open_objects import open_objects
from qairt.engine.shared_store.settings import StoreSettings

pytest.importorskip("obstore")


@pytest.fixture
def server(monkeypatch):
    with serving() as found:
        set_credentials(monkeypatch, found.port)
        yield found


def opened(url: str):
    return open_objects(StoreSettings(url=url))


def test_s3(server):
    objects = opened("s3://bucket/team")
    large = os.urandom(20 << 20)
    objects.put("cas/ab/large", io.BytesIO(large))
    assert b"".join(objects.stream("cas/ab/large")) == large
    assert server.objects == {"team/cas/ab/large": large}
    assert (objects.size("cas/ab/large"), objects.size("cas/ab/none")) == (len(large), None)
    assert [objects.create("ac/x", b"first"), objects.create("ac/x", b"second")] == [True, False]
    objects.replace("ac/x", b"third")
    assert objects.read("ac/x") == b"third"
    assert list(objects.names("ac")) == ["ac/x"]
    with pytest.raises(Missing):
        objects.read("ac/y")


def test_http(server):
    server.objects["team/ac/x"] = b"content"
    objects = opened(server.url)
    assert (objects.read("ac/x"), objects.size("ac/x"), objects.size("ac/y")) == (b"content", 7, None)
    with pytest.raises(Missing):
        objects.read("ac/y")


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_stores_that_come_with_obstore(kind, tmp_path):
    from obstore.store import LocalStore, MemoryStore

    objects = CloudObjects("http://127.0.0.1")
    objects._store = MemoryStore() if kind == "memory" else LocalStore(tmp_path)
    large = os.urandom(40 << 20)
    objects.put("cas/ab/large", io.BytesIO(large))
    assert b"".join(objects.stream("cas/ab/large")) == large
    assert [objects.create("ac/x", b"first"), objects.create("ac/x", b"second")] == [True, False]
    objects.replace("ac/x", b"third")
    assert (objects.read("ac/x"), objects.size("ac/x"), objects.size("ac/y")) == (b"third", 5, None)
    assert list(objects.names("ac")) == ["ac/x"]
    with pytest.raises(Missing):
        objects.read("ac/y")


@pytest.mark.parametrize("kind", ["s3", "http"])
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("forbidden", "access denied"),
        ("error", "HTTP 503"),
        ("truncates", "the connection ends in the middle"),
    ],
)
def test_faults_are_told_by_their_kind(server, kind, fault, why):
    objects = opened("s3://bucket/team" if kind == "s3" else server.url)
    server.objects["team/ac/x"] = b"x" * 1000
    server.fault = fault
    with pytest.raises(Unavailable) as error:
        objects.read("ac/x")
    assert str(error.value) == why


def test_writing_fails_by_its_kind(server):
    objects = opened("s3://bucket/team")
    for fault, why in (("full", "it is full"), ("not found page", "there is no such bucket")):
        server.fault = fault
        with pytest.raises(Unavailable, match=f"^{why}$"):
            objects.put("cas/aa/x", io.BytesIO(b"123"))


def test_nobody_is_there(monkeypatch):
    with serving() as server:
        port = server.port
    set_credentials(monkeypatch, port)
    with pytest.raises(Unavailable, match="^no connection$"):
        opened("s3://bucket/team").read("ac/x")


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("s3://b", "AWS_ACCESS_KEY_ID"),
        ("gs://b", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://b", "AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_without_credentials_nobody_is_asked_for_them(monkeypatch, url, variable):
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    with pytest.raises(Unavailable, match=f"^no credentials: set {variable} and what belongs to it$"):
        opened(url)


def test_credentials_are_sent_and_never_told(server: StoreServer):
    objects = opened("s3://bucket/team")
    server.fault = "forbidden"
    with pytest.raises(Unavailable) as error:
        objects.read("ac/x")
    assert any("the-key-id" in sent for sent in server.authorizations)
    assert "the-key-id" not in f"{error.value!r}{error.value.__cause__!r}"
    assert error.value.__suppress_context__
