"""What the processor is called."""

import platform
from pathlib import Path

import pytest

from jepa_wm import processor


def test_its_name_is_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9654\nstepping\t: 1\n"
    )
    monkeypatch.setattr(processor, "CPUINFO", told)
    assert processor.processor() == "AMD EPYC 9654"


@pytest.mark.parametrize("text", [None, "processor\t: 0\nBogoMIPS\t: 243.75\n"])
def test_where_it_tells_none_its_kind_stands_for_it(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    if text:
        told.write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", told)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert processor.processor() == platform.machine() != ""
