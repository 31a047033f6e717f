"""What docs/deploy.md says of the outbox's file: which ledger it is for, and how it is moved."""

from __future__ import annotations

from pathlib import Path

from support.usage_rows import usage_row

from livekit_plugins_voicegateway.ledger.outbox import Outbox, outbox_file

OLD = "postgresql://voicegw:first@db.internal/voicegw"
NEW = "postgresql://voicegw:first@db2.internal/voicegw"


def test_it_is_named_after_the_url_without_user_and_password(tmp_path: Path) -> None:
    other_password = "postgresql://another:second@db.internal/voicegw"
    assert outbox_file(tmp_path, OLD) == outbox_file(tmp_path, other_password)
    assert outbox_file(tmp_path, OLD) != outbox_file(tmp_path, NEW)


def test_what_waits_for_a_database_that_is_gone_goes_to_another_under_its_name(
    tmp_path: Path,
) -> None:
    old = Outbox(outbox_file(tmp_path, OLD))
    old.put([usage_row(), usage_row()])
    old.close()
    for suffix in ("", "-wal", "-shm"):
        left = Path(f"{old.path}{suffix}")
        if left.exists():
            left.rename(f"{outbox_file(tmp_path, NEW)}{suffix}")
    new = Outbox(outbox_file(tmp_path, NEW))
    assert new.count() == 2
    new.close()
