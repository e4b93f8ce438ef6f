from lipsync_jax.data_prep import prepare
from lipsync_jax.data_prep.corpora import ldc2009v01
from lipsync_jax.data_prep.settings import ExtractionSettings, SplitSettings
from tests.helpers import corpus_trees


def test_lists_are_cut_up_and_speakers_come_from_names(tmp_path, caplog):
    root = corpus_trees.ldc2009v01(tmp_path / "raw")
    corpus_trees.video(root / "video/F02/notes_of_nobody.mov")
    (root / "video/F02/notes_of_nobody.mov").rename(root / "notes.mov")
    found = ldc2009v01.find([root])
    assert [(v.video_id, v.speaker) for v in found] == [
        ("F02/F02_CID_Sentences_List_A", "F02"),
        ("F03/F03_NU6_I", "F03"),
        ("M01/M01_C", "M01"),
        ("M02/M02_C", "M02"),
    ]
    assert "layout of LDC2009V01 is inferred" in caplog.text
    settings = ExtractionSettings(**corpus_trees.SETTINGS, max_seconds=0.6)
    report = prepare.prepare(
        [root], tmp_path / "out", "ldc2009v01", settings, split=SplitSettings("chen2018")
    )
    assert report["splits"]["test"] == {"clips": 4, "seconds": 2.4, "speakers": 2}
