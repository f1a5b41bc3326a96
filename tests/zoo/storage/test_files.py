import multiprocessing
import os
import time

import pytest

from zoo.storage import files


def test_sha256_is_the_published_one_of_three_letters(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "abc") == expected


def test_the_size_of_a_folder_is_that_of_all_files_in_it(tmp_path):
    assert files.size(tmp_path / "nothing") == 0
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"abc")
    (tmp_path / "a" / "b" / ".two").write_bytes(b"abcd")
    assert files.size(tmp_path) == 7
    assert files.size(tmp_path / "one") == 3


def test_check_names_the_file_what_it_expects_and_what_it_finds(tmp_path):
    path = tmp_path / "abc"
    with pytest.raises(FileNotFoundError, match=r"no file '.*abc'"):
        files.check(path, "0" * 64)
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"abc'.*expected 4 bytes, found 3"):
        files.check(path, "0" * 64, size=4)
    with pytest.raises(ValueError, match=r"abc' was altered: expected .*00, found ba"):
        files.check(path, "0" * 64, size=3)
    files.check(path, files.sha256(path), size=3)


def test_a_block_that_ends_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file"
    for text in ("old", "new"):
        with files.replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, error, kind):
    def make(path, text):
        if kind == "folder":
            path.mkdir()
            path /= "inner"
        path.write_text(text)

    def read():
        path = tmp_path / "it"
        return (path / "inner" if kind == "folder" else path).read_text()

    def fail():
        with files.replacing(tmp_path / "it") as temporary:
            make(temporary, "half")
            raise error

    make(tmp_path / "it", "old")
    with pytest.raises(error):
        fail()
    assert read() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["it"]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    for name in ("old", "new"):
        with files.replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "new"]


def test_files_have_the_permissions_that_the_user_set(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    with files.replacing(tmp_path / "file") as temporary:
        temporary.touch()
    assert os.stat(tmp_path / "file").st_mode == os.stat(plain).st_mode


def _append(folder):
    with files.locked(folder / "lock"):
        text = (folder / "text").read_text()
        time.sleep(0.05)
        (folder / "text").write_text(text + "x")


def test_a_lock_lets_one_process_in_at_a_time(tmp_path):
    (tmp_path / "text").touch()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (tmp_path / "text").read_text() == "xxxx"


def _hold(folder, ready):
    with files.claimed(folder):
        ready.set()
        time.sleep(600)


def test_a_folder_belongs_to_one_process_until_it_ends(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, folder = context.Event(), tmp_path / "new"
    process = context.Process(target=_hold, args=(folder, ready), daemon=True)
    process.start()
    assert ready.wait(60)
    refused = pytest.raises(BlockingIOError, match="Another process writes to")
    with refused, files.claimed(folder):
        pass
    process.kill()
    process.join()
    for _ in range(2):
        with files.claimed(folder):
            pass


def test_a_file_has_the_permissions_of_any_new_one(tmp_path):
    (tmp_path / "plain").write_text("x")
    with files.replacing(tmp_path / "file") as temporary:
        temporary.write_text("x")
        temporary.chmod(0o600)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
