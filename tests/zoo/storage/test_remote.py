"""Folders behind a URL that a process writes to, by TensorFlow's file systems."""

import uuid

import pytest

from zoo.storage import files, remote, urls

tf = pytest.importorskip("tensorflow")


@pytest.fixture(params=["ram", "file"])
def url(request, tmp_path):
    place = f"/{uuid.uuid4().hex}" if request.param == "ram" else tmp_path
    return f"{request.param}://{place}/bucket/run"


def write(path, content):
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)


def contents(url):
    """Returns the content of each file in a folder and below, by its name there."""
    found = {}
    for place, _, names in tf.io.gfile.walk(url):
        for name in names:
            path = f"{place}/{name}"
            found[path.removeprefix(f"{url}/")] = urls.read(path)
    return found


def test_a_path_is_given_as_it_is(tmp_path):
    with remote.local(tmp_path / "new") as folder:
        assert folder == tmp_path / "new"
        write(folder / "rows", b"1")
        assert remote.shown(folder / "rows") == str(folder / "rows")
    assert (tmp_path / "new" / "rows").read_bytes() == b"1"


def test_a_file_is_behind_the_url_as_soon_as_it_is_whole(url):
    with remote.local(url) as folder:
        with files.replacing(folder / "a" / "b") as temporary:
            temporary.write_bytes(b"first")
            assert not tf.io.gfile.exists(f"{url}/a/b")
        assert urls.read(f"{url}/a/b") == b"first"
        with pytest.raises(TypeError):
            write(folder / "c", None)
        write(folder / "a" / "b", b"2")  # Shorter than what it replaces.
        with files.replacing(folder / "a" / "d", send=False) as temporary:
            temporary.write_bytes(b"later")
        assert remote.shown(folder / "a" / "b") == f"{url}/a/b"
        assert remote.shown(folder) == url
    assert contents(url) == {"a/b": b"2"}
    assert not folder.exists()


def test_what_is_there_is_read_when_it_is_needed(url):
    for name in ("rows", "other", "x/1", "x/2", "x/y/3"):
        urls.write(f"{url}/{name}", name.encode())

    def inside(folder):
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix() for path in paths}

    with remote.local(url + "/", ["rows", "missing"]) as folder:
        assert inside(folder) == {"rows"}
        remote.fetch(folder / "x")
        assert inside(folder) == {"rows", "x/1", "x/2"}
        assert (folder / "x" / "2").read_bytes() == b"x/2"
        write(folder / "x" / "2", b"new")
        remote.fetch(folder / "x")  # It does not bring back what was replaced.
        assert (folder / "x" / "2").read_bytes() == b"new"
        remote.fetch(folder / "z")
        remote.remove(folder / "x" / "1")
        remote.remove(folder / "x" / "1")
    assert set(contents(url)) == {"rows", "other", "x/2", "x/y/3"}


def test_the_last_process_has_the_folder(url):
    message = f"begun to write to '{url}'"
    with remote.local(url) as first:
        write(first / "rows", b"1")
        with remote.local(url, ["rows"]) as second:
            with pytest.raises(ConnectionError, match=message):
                remote.remove(first / "rows")
            write(second / "rows", (second / "rows").read_bytes() + b"2")
        with pytest.raises(ConnectionError, match=message):
            write(first / "rows", b"old")
    assert contents(url) == {"rows": b"12"}


def test_a_killed_process_holds_up_nobody(url):
    urls.write(f"{url}/{remote.OWNER}", b"one that was killed")
    with remote.local(url) as folder:
        write(folder / "rows", b"1")
    assert contents(url) == {"rows": b"1"}


def test_another_owner_stays_when_an_earlier_process_ends(url):
    with remote.local(url):
        urls.write(f"{url}/{remote.OWNER}", b"a later one")
    assert contents(url) == {remote.OWNER: b"a later one"}


@pytest.mark.parametrize("url", ["https://a.example/run", "hf://owner/name"])
def test_refuses_places_that_take_no_files(url):
    with pytest.raises(ValueError, match=f"Received: {url}"), remote.local(url):
        pass


@pytest.mark.parametrize("place", ["gs:/bucket/run", "GS://bucket/run"])
def test_a_mistyped_url_is_no_folder(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ValueError, match="mean gs://bucket/run.*Received: [gG]"),
        remote.local(place),
    ):
        pass
    for place in ("file:/tmp/run", "file://tmp/run"):
        with pytest.raises(ValueError, match="mean file:///tmp/run"):
            urls.check_writable(place)
    for path in ("file:///tmp/run", "ram://run", "C:/run", "./gs:/run", "a:b/run"):
        urls.check_writable(path)


def test_says_what_opens_other_schemes():
    with (
        pytest.raises(ConnectionError, match="pip install tensorflow-io"),
        remote.local("s3://bucket/run"),
    ):
        pass
