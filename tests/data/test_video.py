"""Frames of real mp4 and webm files, by number, with and without B frames and odd time stamps."""

import io

import av
import numpy as np
import pytest

from jepa_wm.data import Clips, Loader, Shards
from jepa_wm.data.video import Video
from jepa_wm.data.writer import write_shard


def write_video(codec="libx264", form="mp4", frames=30, gop=12, b_frames=2, size=(48, 64), skip=1):
    """A video whose frame t is grey of brightness 8 t."""
    data = io.BytesIO()
    with av.open(data, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt, stream.gop_size, stream.codec_context.max_b_frames = "yuv420p", gop, b_frames
        for t in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 8 * t, np.uint8), format="rgb24")
            frame.pts = t * skip + (t % 3 if skip > 4 else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return data.getvalue()


VIDEOS = {
    "mp4": {},
    "mp4 without B frames": {"b_frames": 0},
    "mp4 of uneven times": {"skip": 7},
    "webm": {"codec": "libvpx-vp9", "form": "webm", "b_frames": 0},
    "one key frame": {"gop": 1000},
}


def numbers(pixels):
    """Which frames these are."""
    return np.round(pixels.mean(axis=(1, 2, 3)) / 8).astype(int).tolist()


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("at", [range(30), [0], [29], [5, 6, 7], [1, 6, 11, 16], [0, 28], [11, 12, 13], [23, 24]])
def test_frames_asked_for_are_the_frames_given(name, at):
    video = Video(write_video(**VIDEOS[name]))
    assert (video.frames, video.height, video.width) == (30, 48, 64)
    assert numbers(video.read(list(at))) == list(at)


def test_what_is_no_video():
    whole = write_video()
    for data in (
        b"",
        b"rubbish" * 100,
        whole[:300],
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile a\n",
    ):
        with pytest.raises(ValueError):
            Video(data)


def test_a_video_cut_off_gives_what_it_has_or_an_error():
    webm = write_video("libvpx-vp9", "webm", b_frames=0)
    video = Video(webm[: len(webm) // 2])
    assert 0 < video.frames < 30 and numbers(video.read([0, 1])) == [0, 1]


def test_too_many_pixels(monkeypatch):
    monkeypatch.setattr("jepa_wm.data.video.MAX_PIXELS", 1000)
    with pytest.raises(ValueError, match="64 x 48"):
        Video(write_video())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_clips_of_videos(tmp_path):
    """With and without metadata that say how long they are, some too short, one broken."""
    json = b'{"frames": 30, "height": 48, "width": 64, "fps": 25.0}'
    samples = [
        ("a", {"mp4": write_video(), "json": json, "txt": b"grey", "cls": b"3"}),
        ("b", {"webm": write_video("libvpx-vp9", "webm", b_frames=0)}),
        ("c", {"mp4": write_video(frames=5)}),
        ("d", {"mp4": b"rubbish", "json": json}),
        ("e", {"mp4": write_video(), "json": json, "cls": b"9" * 20}),
    ]
    write_shard(tmp_path / "a.tar", samples)
    shards = Shards(str(tmp_path / "a.tar"))
    assert shards.lengths().tolist() == [30, 30, 5, 30, 30]
    clips = Loader(Clips(shards, frames=4, frame_skip=5, clips=3), 3, shuffle=False, max_broken=0.6)
    batches = list(clips)
    assert [batch["index"][0, 0].item() for batch in batches] == [0, 1] and len(clips.broken[0]) == 2
    for batch in batches:
        for row, (_, start) in enumerate(batch["index"].tolist()):
            assert numbers(batch["pixels"][row].movedim(1, -1).numpy()) == [start, start + 5, start + 10, start + 15]
    assert batches[0]["captions"][0] == ["grey"] * 4 and batches[0]["labels"].tolist() == [3] * 3
    assert batches[1]["captions"][0] == [""] * 4 and batches[1]["labels"].tolist() == [-1] * 3
