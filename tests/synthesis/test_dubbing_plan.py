"""Dubbing that begins before all faces are detected, and ends as if it had waited."""

import contextlib
import threading
import weakref
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.faces import trajectory
from lipsync_jax.media import frame_source, video_reader
from lipsync_jax.synthesis import dubbing_plan
from lipsync_jax.synthesis.options import DubbingOptions
from tests.helpers import colour_faces, scenes

FRAMES = 150
LARGE = (84, 1, 116, 79)  # beside scenes.LEFT; too few pixels to count as a scene cut


def write_video(path, box_of, times=None):
    """Writes frames with the red and green boxes that `box_of` returns for their numbers."""
    with video_reader.VideoWriter(path, 25, scenes.SIZE, lossless=True) as writer:
        for number in range(FRAMES):
            image = colour_faces.face_image(*box_of(number), size=scenes.SIZE[::-1])
            writer.write(image, None if times is None else times[number])
    return path


def swaying(number):
    x = 30 + round(8 * np.sin(number / 7))
    return (x, 12, x + 36, 60), None


def late_neighbour(number):
    return scenes.LEFT, LARGE if number > 52 else None


def late_first_face(number):
    return (swaying(number)[0] if number > 60 else None), None


class Detector:
    """Detects coloured faces; waits at image `first` until `proceed` is set."""

    def __init__(self, first):
        self._first, self.calls, self.proceed, self.waited = first, 0, threading.Event(), True

    def __call__(self, rgb):
        self.calls += 1
        if self.calls == self._first:
            self.waited = self.proceed.wait(20)
        return colour_faces.detect(rgb)


def run(face, tmp_path, first=None, **options):
    """Dubs; detection stops at image `first` until a frame is written. Returns frames, progress."""
    detector, captured = Detector(first), []

    def on_progress(progress):
        captured.append(progress)
        if progress.stage == "generate":
            detector.proceed.set()

    speech = scenes.write_tone(tmp_path / "voice.wav", options.pop("seconds", FRAMES / 25))
    options = {**scenes.OPTIONS, "detector": detector, "preset": "ultrafast", **options}
    result = scenes.lip_sync_pipeline().generate(
        face, speech, tmp_path / "out.mp4", on_progress=on_progress, batch_size=8, **options
    )
    assert detector.waited, "no frame was written while detection waited"
    assert len(result.video_faces.times) == FRAMES
    shown = [frame.image for frame in video_reader.read_frames(tmp_path / "out.mp4")]
    return result, np.stack(shown), [p.done for p in captured if p.stage == "generate"]


def assert_equal_results(one, other):
    np.testing.assert_array_equal(one[1], other[1])
    for name in ("edited", "frames", "face_height", "missing_intervals", "frame_numbers"):
        assert getattr(one[0], name) == getattr(other[0], name)


@pytest.mark.parametrize(
    ("box_of", "options"),
    [
        (swaying, {}),
        (swaying, {"detect_every": 5, "follow": False, "loop": "none"}),
        (swaying, {"box": (12, 60, 30, 66), "seconds": 7}),
        (late_first_face, {"on_missing_face": "hold"}),
    ],
)
def test_the_first_frame_is_written_before_all_faces_are_detected(
    tmp_path, monkeypatch, box_of, options
):
    face = write_video(tmp_path / "face.mkv", box_of)
    first = None if "box" in options else {5: 25}.get(options.get("detect_every"), 130)
    early = run(face, tmp_path, first, **options)
    assert early[2] == [*range(1, len(early[1]) + 1)]
    monkeypatch.setattr(dubbing_plan, "begins_early", lambda options: False)
    assert_equal_results(early, run(face, tmp_path, **options))


def test_a_plan_that_later_frames_contradict_is_made_again(tmp_path, monkeypatch):
    face = write_video(tmp_path / "face.mkv", late_neighbour)
    early = run(face, tmp_path, first=52)
    assert early[2].count(1) == 2 and early[2][-FRAMES:] == [*range(1, FRAMES + 1)]
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]
    monkeypatch.setattr(dubbing_plan, "begins_early", lambda options: False)
    whole = run(face, tmp_path)
    assert_equal_results(early, whole)
    assert scenes.face_changed(video_reader.Frame(0, whole[1][100], 0), LARGE)


def test_frames_that_are_not_even_in_the_end_are_planned_again(tmp_path, monkeypatch):
    # Rounded to milliseconds, as even frames may be; the step at the end shows that none are even.
    times = [Fraction(round(1000 * i / 24), 1000) for i in range(FRAMES)]
    times[-1] += Fraction(1, 20)
    face = write_video(tmp_path / "face.mkv", swaying, times)
    early = run(face, tmp_path, first=130, loop="none")
    monkeypatch.setattr(dubbing_plan, "begins_early", lambda options: False)
    assert_equal_results(early, run(face, tmp_path, loop="none"))


@pytest.mark.parametrize("options", [{}, {"face_id": 0}])
def test_few_frames_are_in_memory_at_any_time(tmp_path, monkeypatch, options):
    read, lock, alive, peak = video_reader.read_frames, threading.Lock(), 0, 0

    def count(change):
        nonlocal alive, peak
        with lock:
            alive += change
            peak = max(peak, alive)

    def counted(path, *args):
        with contextlib.closing(read(path, *args)) as frames:
            for frame in frames:
                if path == face:
                    count(1)
                    weakref.finalize(frame.image, count, -1)
                yield frame

    face = write_video(tmp_path / "face.mkv", swaying)
    monkeypatch.setattr(frame_source, "MAX_BUFFER_BYTES", 0)
    monkeypatch.setattr(video_reader, "read_frames", counted)
    run(face, tmp_path, detect_every=5, **options)
    assert 8 < peak < 60 < FRAMES  # queues, the batches of 8, and the frames between detections


@pytest.mark.parametrize("options", [{"face_id": 0}, {"on_missing_face": "error"}, {"preview": 2}])
def test_options_that_need_the_whole_video_wait_for_its_end(options):
    assert not dubbing_plan.begins_early(DubbingOptions(**options))
    assert dubbing_plan.begins_early(DubbingOptions())


@pytest.mark.parametrize("follow", [True, False])
def test_settled_frames_do_not_change(follow):
    rng = np.random.default_rng(0)
    absent = np.flatnonzero(rng.random(120) < 0.2)
    options = trajectory.FaceOptions(detector=colour_faces.detect, detect_every=3, follow=follow)
    images = [
        colour_faces.face_image(None if i in absent else swaying(i)[0], size=scenes.SIZE[::-1])
        for i in range(120)
    ]
    images[70:] = [np.maximum(image, 200) for image in images[70:]]  # another shot, without faces
    tracker, states = trajectory.VideoTracker(Fraction(25), options), []
    for i, image in enumerate(images):
        tracker.add(video_reader.Frame(Fraction(i, 25), image, i))
        states.append(tracker.faces_so_far())
    whole = trajectory.face_trajectory(tracker.end(), tracker.end().tracks, options)
    assert states[-1][1] > 90
    for found, settled in states:
        known = trajectory.face_trajectory(found, found.tracks, options)
        for name in ("boxes", "landmarks"):
            one, other = getattr(known, name)[:settled], getattr(whole, name)[:settled]
            np.testing.assert_array_equal(one, other)
