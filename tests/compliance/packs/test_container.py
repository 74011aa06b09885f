"""The archive: what other programs make of it, and what the strict reader refuses."""

import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from compliance.packs import bag, container
from compliance.packs.bag import BagWriter, check_bag
from compliance.packs.container import ContainerError, ZipReader, ZipWriter


def write(path: Path, *files: tuple[str, bytes]) -> Path:
    with path.open("w+b") as out, ZipWriter(out) as writer:
        for name, data in files:
            writer.add(name, [data], len(data))
        writer.close()
    return path


def test_it_is_read_by_the_standard_library(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", *[(f"pack-x/data/{n}", str(n).encode()) for n in range(70_000)])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 70_000
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    with ZipReader(path) as reader:
        assert (reader.folder, reader.count) == ("pack-x", 70_000)
        assert reader.read("data/69999", 10) == b"69999"
        assert len(list(reader.names("data/69"))) == 1_110  # below it, without 69 itself


def test_it_writes_large_files_and_offsets_as_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_MAX32", 1000)  # what 4 GiB are for real
    with (tmp_path / "a.zip").open("w+b") as out, ZipWriter(out) as writer:
        for name in ("x/one", "x/two"):
            writer.add(name, [b"a" * 900, b"b" * 600], 1500)
        writer.close()
    with ZipReader(tmp_path / "a.zip") as reader:
        assert reader.read("two", 2000) == b"a" * 900 + b"b" * 600


@pytest.mark.parametrize(
    "name", ["x/../y", "/x/y", "x//y", "x/./y", "C:/y", "x\\y", "x/ü", "x/", "x/a\nb", "x/" + "y" * 300]
)
def test_it_refuses_unsafe_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ContainerError):
        write(tmp_path / "a.zip", (name, b"1"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"1")
    with pytest.raises(ContainerError):
        ZipReader(tmp_path / "b.zip")


@pytest.mark.parametrize("files", [["x/a", "x/a"], ["x/a", "x/A"], ["x/a", "y/b"], ["a"]])
def test_it_refuses_names_that_clash_or_lie_elsewhere(tmp_path: Path, files: list[str]) -> None:
    path = write(tmp_path / "a.zip", *[(name, b"1") for name in files])
    with pytest.raises(ContainerError):
        ZipReader(path)


def test_it_refuses_compressed_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/bomb", b"0" * 10_000_000)
    with pytest.raises(ContainerError):
        ZipReader(tmp_path / "a.zip")


def test_it_refuses_bytes_between_before_and_after_entries(tmp_path: Path) -> None:
    good = write(tmp_path / "a.zip", ("x/a", b"1"), ("x/b", b"2")).read_bytes()
    for at in (0, 40, len(good)):
        (tmp_path / "b.zip").write_bytes(good[:at] + b"hidden" + good[at:])
        with pytest.raises(ContainerError):
            ZipReader(tmp_path / "b.zip")


def test_it_refuses_a_header_that_contradicts_the_directory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", ("x/a", b"1"), ("x/b", b"2"))
    data = path.read_bytes()
    for change in (data.replace(b"x/a", b"x/c", 1), data.replace(struct.pack("<L", 1), struct.pack("<L", 0), 1)):
        path.write_bytes(change)
        with pytest.raises(ContainerError):
            ZipReader(path)


def test_it_refuses_announced_sizes_that_do_not_hold(tmp_path: Path) -> None:
    refused = pytest.raises(ContainerError, match="not the 3")
    with (tmp_path / "a.zip").open("w+b") as out, ZipWriter(out) as writer, refused:
        writer.add("x/a", [b"12"], 3)


def test_it_finds_files_that_no_manifest_names(tmp_path: Path) -> None:
    with (tmp_path / "a.zip").open("w+b") as out, BagWriter(out, "pack-x") as writer:
        writer.add("a", b"1")
        writer._zip.add("pack-x/data/b", [b"2"], 1)
        writer.close([], lambda digest: b"{}")
    with ZipReader(tmp_path / "a.zip") as reader, pytest.raises(ContainerError, match="data/b is in no manifest"):
        check_bag(reader)


def peak_of(count: int, path: Path) -> int:
    """The most memory that writing and checking a bag of so many files takes."""
    tracemalloc.start()
    with path.open("w+b") as out, BagWriter(out, "pack-x") as writer:
        for number in range(count):
            writer.add(f"records/{number}.json", b"x" * 200)
        writer.close([], lambda digest: b"{}")
    with ZipReader(path) as reader:
        check_bag(reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_it_takes_no_more_memory_for_more_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (container, bag):
        monkeypatch.setattr(module, "CHUNK", 1 << 16)  # so that a few thousand files fill many
    peak_of(100, tmp_path / "warm.zip")
    small, large = peak_of(2_000, tmp_path / "a.zip"), peak_of(12_000, tmp_path / "b.zip")
    assert large < small + 200_000


def test_it_takes_no_more_memory_for_a_larger_file(tmp_path: Path) -> None:
    def peak(megabytes: int) -> int:
        tracemalloc.start()
        with (tmp_path / "a.zip").open("w+b") as out, BagWriter(out, "pack-x") as writer:
            writer.add_chunks("artifacts/a", (bytes(1 << 20) for _ in range(megabytes)), megabytes << 20)
            writer.close([], lambda digest: b"{}")
        with ZipReader(tmp_path / "a.zip") as reader:
            check_bag(reader)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(64) < peak(4) + 500_000
