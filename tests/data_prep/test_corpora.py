import os

import pytest

from lipsync_jax.data_prep import corpora
from lipsync_jax.data_prep.corpora import folder, grid


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_a_folder_names_its_speakers_by_sub_folders(tmp_path):
    touch(tmp_path, "ann/x/1.mp4", "ann/2.MOV", "bob.mkv", "notes.txt", ".hidden/3.mp4", ".4.mp4")
    found = [(v.video_id, v.speaker) for v in folder.find([tmp_path])]
    assert found == [("ann/2", "ann"), ("ann/x/1", "ann"), ("bob", "bob")]
    assert folder.words(folder.find([tmp_path])[0]) == ()


def test_linked_folders_are_followed_and_never_in_cycles(tmp_path):
    touch(tmp_path, "disk/ann/1.mp4", "disk/ann/2.mp4")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "bea").symlink_to(tmp_path / "disk" / "ann")
    (tmp_path / "disk" / "ann" / "again").symlink_to(tmp_path / "corpus")
    found = [(v.video_id, v.speaker) for v in folder.find([tmp_path / "corpus"])]
    assert found == [("bea/1", "bea"), ("bea/2", "bea")]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, caplog):
    touch(tmp_path, "ann/1.mp4", "bea/1.mp4")
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("bea"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert [video.video_id for video in folder.find([tmp_path])] == ["ann/1"]
    assert f"{tmp_path / 'bea'} can't be listed, so its files are left out" in caplog.text


MODULE = """
from lipsync_jax.data_prep.corpora import Video, video_files, with_unique_ids

def find(sources):
    return with_unique_ids(
        Video(path, path.stem, "somebody") for path, _ in video_files(sources)
    )

def words(video):
    return ()
"""


def test_a_module_anywhere_is_a_corpus(tmp_path):
    touch(tmp_path, "1.mp4")
    (tmp_path / "mine.py").write_text(MODULE)
    name = str(tmp_path / "mine.py")
    (video,) = corpora.get(name).find([tmp_path])
    assert (video.speaker, corpora.dataset_name(name)) == ("somebody", "mine")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_at_all", "mine.py can't be imported: ModuleNotFoundError"),
        ("def find(sources): return []", "mine.py has no function words"),
    ],
)
def test_a_module_that_is_no_corpus_is_one_sentence(code, message, tmp_path):
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ValueError, match=message):
        corpora.get(str(tmp_path / "mine.py"))


def test_ids_are_unique_and_a_video_named_twice_counts_once(tmp_path):
    touch(tmp_path, "a.mp4", "a.mov", "other/a.mp4")
    found = folder.find([tmp_path / "a.mov", tmp_path, tmp_path / "other", tmp_path / "a.mp4"])
    assert sorted(v.video_id for v in found) == ["a", "a~2", "other/a"]


def test_grid_finds_speakers_and_words_in_its_usual_layouts(tmp_path):
    touch(tmp_path, "s1/bbaf2n.mpg", "s12/video/mpg_6000/prii9a.mpg", "loose/sbwh1s.mpg")
    for name, word in (
        ("align/s1/bbaf2n.align", "bin"),
        ("s12/video/mpg_6000/prii9a.align", "place"),
    ):
        touch(tmp_path, name)
        (tmp_path / name).write_text(f"0 23750 sil\n23750 29500 {word}\n\n29500 34000 sp\n")
    found = grid.find([tmp_path])
    assert [(v.video_id, v.speaker) for v in found] == [
        ("loose/sbwh1s", "loose"),
        ("s1/bbaf2n", "s1"),
        ("s12/prii9a", "s12"),
    ]
    words = [grid.words(video) for video in found]
    assert words[0] == ()
    assert [(w.text, w.start, w.end) for w in words[1]] == [("bin", 0.95, 1.18)]
    assert [(w.text, w.start, w.end) for w in words[2]] == [("place", 0.95, 1.18)]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        folder.find([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match="there is no video"):
        folder.find([tmp_path])
    with pytest.raises(ValueError, match="choose one of folder, grid, tcd_timit"):
        corpora.get("tcd")
    (tmp_path / "a.align").write_text("0 bin\n")
    with pytest.raises(ValueError, match=r"a\.align: '0 bin' is not"):
        grid.read_alignment(tmp_path / "a.align")
