"""Published in an order that survives a crash; evidence never waits for it."""

import threading
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone

from evidence import anchors as outside_copies
from evidence import authority, tasks
from evidence.anchors import outside, publishing
from evidence.anchors.outside import Outside
from evidence.models import Anchor, Note, Tile
from evidence.tlog.merkle import leaf_hash
from evidence.tlog.tiles import decode_bundle

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

from tests.evidence.anchors.shared import found, get, record, versions

pytestmark = pytest.mark.usefixtures("ledger")


def test_it_publishes_the_checkpoint_under_lock_then_the_row_then_the_pointer(
    anchors: "S3Client", settings: Any
) -> None:
    first, second = record(3), None
    assert publishing.publish() == "published 3"
    second = record(2)
    assert publishing.publish() == "published 5"
    there = outside.writer()
    answer = there.client.get_object(Bucket=there.bucket, Key=there.key("checkpoints/5"))
    assert answer["ObjectLockMode"] == "COMPLIANCE"
    assert answer["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=7 * 365)
    assert answer["Body"].read() == get("checkpoint") == Note.objects.get(size=5).text.encode()
    assert list(Anchor.objects.order_by("size").values_list("size", "previous", "version_id")) == [
        (first, None, versions("checkpoints/3")[0]),
        (second, first, versions("checkpoints/5")[0]),
    ]
    assert found() == []


def test_it_rests_between_tiles_when_told_to(anchors: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    record(300)
    started = time.monotonic()
    assert publishing.publish(rest=2.0) == "published 300"
    assert len([rest for rest in rests if rest > 0]) == 2  # a bundle and a tile
    assert sum(rests) < 2 * (time.monotonic() - started)
    record(300)
    publishing.publish()
    assert sum(rests[2:]) == 0


def test_no_round_begins_while_another_is_under_way(
    anchors: "S3Client", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    added: list[str] = []

    def add(self: Outside, path: str, *args: Any, **kwargs: Any) -> str:
        added.append(path)
        if len(added) == 1:
            beside = threading.Thread(target=begin)
            beside.start()
            beside.join()
        return really(self, path, *args, **kwargs)

    def begin() -> None:
        tasks.publish_anchor()
        connections.close_all()

    really = Outside.add
    monkeypatch.setattr(Outside, "add", add)
    monkeypatch.setattr(tasks, "_ANCHOR_REST", 0.0)
    caplog.set_level("INFO", logger="evidence.tasks")
    record(2)
    tasks.publish_anchor()
    assert added == ["checkpoints/2"]
    record(2)
    tasks.publish_anchor()
    assert added == ["checkpoints/2", "checkpoints/4"]
    rounds = [message.removeprefix("anchors: ") for message in caplog.messages]
    assert rounds == ["the last round is still under way", "published 2", "published 4"]


def test_it_sends_its_small_objects_without_asking_first(anchors: "S3Client") -> None:
    sent: list[Any] = []
    events = outside.writer().client.meta.events
    events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers), unique_id="test")
    try:
        record(256)
        publishing.publish()
    finally:
        events.unregister("before-send.s3.PutObject", unique_id="test")
    assert len(sent) == 4  # a bundle, a tile, the checkpoint, the pointer
    assert not any("Expect" in headers for headers in sent)


def test_a_round_makes_nobody_forget_what_they_know_of_rights(anchors: "S3Client") -> None:
    record(2)
    before = authority.epoch_now()
    assert publishing.publish() == "published 2"
    assert authority.epoch_now() == before


def test_tiles_that_one_query_reads_are_in_their_places(anchors: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_AT_ONCE", 2)
    record(5 * 256 + 1)
    publishing.publish()
    for number in range(5):
        hashes = b"".join(map(leaf_hash, decode_bundle(get(f"tile/entries/00{number}"), 256)))
        assert get(f"tile/0/00{number}") == hashes == bytes(Tile.objects.get(level=0, number=number).hashes)
    assert found() == []


def test_it_publishes_full_tiles_and_bundles_as_the_log_serves_them(anchors: "S3Client") -> None:
    record(300)
    publishing.publish()
    hashes = [leaf_hash(leaf) for leaf in decode_bundle(get("tile/entries/000"), 256)]
    assert get("tile/0/000") == b"".join(hashes) == bytes(Tile.objects.get(level=0, number=0).hashes)
    there = outside.writer()
    names = there.client.list_objects_v2(Bucket=there.bucket, Prefix=there.key("tile/"))["Contents"]
    assert len(names) == 2
    assert found() == []


@pytest.mark.parametrize("crash", ["add", "note_row", "point_to"])
def test_it_finishes_what_a_crash_left(anchors: "S3Client", monkeypatch: pytest.MonkeyPatch, crash: str) -> None:
    record(2)
    publishing.publish()
    record(300)
    with monkeypatch.context() as patched:
        if crash == "add":  # after the tiles, before the checkpoint
            whole = Outside.add

            def half(self: Outside, path: str, *args: Any, **kwargs: Any) -> str:
                if path.startswith("checkpoints/"):
                    raise KeyboardInterrupt
                return whole(self, path, *args, **kwargs)

            patched.setattr(Outside, "add", half)
        elif crash == "note_row":
            patched.setattr(publishing, "note_row", lambda _, published: _crash_beyond(2, published.size))
        else:
            patched.setattr(Outside, "point_to", lambda *_: _crash_beyond(0, 1))
        with pytest.raises(KeyboardInterrupt):
            publishing.publish()
    assert outside.writer().pointer().size == 2  # type: ignore[union-attr]  # there is one
    done = publishing.publish()
    assert done == ("published 302" if crash == "add" else "pointed to 302")
    assert outside.writer().pointer().size == 302  # type: ignore[union-attr]  # there is one
    assert Anchor.objects.get(size=302).previous == 2
    assert len(versions("checkpoints/302")) == 1
    assert found() == []


def _crash_beyond(size: int, reached: int) -> None:
    if reached > size:
        raise KeyboardInterrupt


def test_it_finds_anchors_beyond_a_pointer_that_lags(anchors: "S3Client") -> None:
    sizes = []
    for count in (7, 2, 1, 1, 88, 1):  # 7, 9, 10, 11, 99, 100
        sizes.append(record(count))
        publishing.publish()
    assert sizes == [7, 9, 10, 11, 99, 100]
    for size in sizes:
        outside.writer().point_to(get(f"checkpoints/{size}").decode())
        assert outside.writer().newest().size == 100  # type: ignore[union-attr]  # there is one


def test_it_writes_nothing_without_news_but_a_sign_of_life_each_hour(
    anchors: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publishing.publish() == "the log is empty"
    record(1)
    publishing.publish()
    assert publishing.publish() == "nothing new since 1"
    assert len(versions("checkpoint")) == 1
    monkeypatch.setattr(publishing, "HEARTBEAT", timedelta(0))
    assert publishing.publish() == "nothing new since 1, pointed to it again"
    assert len(versions("checkpoint")) == 2
    assert len(versions("checkpoints/1")) == 1


def test_it_lets_two_workers_publish_at_once(anchors: "S3Client") -> None:
    record(260)
    outcomes: list[str] = []
    together = threading.Barrier(4)

    def work() -> None:
        try:
            together.wait()
            outcomes.append(publishing.publish())
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(outcomes) == 4
    assert Anchor.objects.count() == 1
    assert found() == []


def test_it_covers_what_somebody_else_put_in_its_place(anchors: "S3Client") -> None:
    record(1)
    there = outside.writer()
    anchors.put_object(Bucket=there.bucket, Key=there.key("checkpoints/1"), Body=b"junk")
    anchors.put_object(Bucket=there.bucket, Key=there.key("checkpoint"), Body=b"junk")
    assert publishing.publish() == "published 1"
    assert b"junk" not in get("checkpoints/1") + get("checkpoint")
    assert ["checkpoints/1: version" in line and "does not count" in line for line in found()] == [True]


def test_evidence_goes_on_while_the_store_is_down(
    anchors: "S3Client", settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    record(1)
    publishing.publish()
    connections.close_all()
    up, settings.S3_ENDPOINT_URL = settings.S3_ENDPOINT_URL, "http://127.0.0.1:9"
    assert record(1) == 2
    assert outside_copies.report() == "ok"
    outside_copies.refuse_if_behind(2)
    assert "could not be read, writes go on" in caplog.text
    tasks.publish_anchor()
    assert "the store failed, the next round goes on" in caplog.text
    assert outside_copies.report(timezone.now() + timedelta(minutes=6)).startswith("late: records since ")
    settings.S3_ENDPOINT_URL = up
    tasks.publish_anchor()
    assert outside_copies.report(timezone.now() + timedelta(minutes=6)) == "ok"


def test_it_publishes_by_hand(anchors: "S3Client") -> None:
    record(4)
    out = StringIO()
    call_command("publish_anchor", stdout=out)
    assert out.getvalue() == "published 4\n"


def test_it_does_nothing_without_a_bucket_and_says_so(settings: Any, superuser: Any) -> None:
    record(1)
    tasks.publish_anchor()
    assert Anchor.objects.count() == 0
    assert outside_copies.report() == "off: S3_ANCHOR_BUCKET is not set"
    assert found() == []
    with pytest.raises(CommandError, match="set S3_ANCHOR_BUCKET"):
        call_command("publish_anchor")
