"""Miniature trees of the corpora in their official layouts, of coloured rectangles as faces."""

from pathlib import Path

import numpy as np

from lipsync_jax.media import audio
from tests.helpers.colour_faces import buzz, detect, face_image, square_box, write_video

SETTINGS = {
    "detector": detect,
    "min_face_height": 10,
    "min_seconds": 0.4,
    "sync_model": "none",  # rectangles do not speak
    "min_sharpness": 0.0,
}


def video(path: Path, frames: int = 12, *, audio_seconds=None, grey=(), silent=False, rate=25):
    """A video of a face whose place depends on the file's name, with a buzz; any suffix."""
    place = sum(str(path).encode()) % 40
    images = [
        np.full((60, 80, 3), 128, np.uint8) if i in grey else face_image(square_box(place))
        for i in range(frames)
    ]
    samples = None if silent else buzz(audio_seconds or frames / rate)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = write_video(path.with_suffix(".tmp.mkv"), images, samples, rate)
    return written.rename(path)


def text(path: Path, content: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="")
    return path


def grid(root: Path) -> Path:
    """Zenodo's layout, with the alignments of s1 and s2 under each other's number."""
    for name in ("s1/bbaf2n", "s2/lwbsza", "s3/prii9a", "s33/sgwz1p"):
        video(root / f"{name}.mpg")
    text(root / "alignments/s2/bbaf2n.align", "0 3000 sil\n3000 6000 bin\n6000 9000 blue\n")
    text(root / "alignments/s1/lwbsza.align", "0 3000 sil\r\n3000 6000 lay\r\n6000 6500 sp\r\n")
    text(root / "alignments/s33/sgwz1p.align", "0 3000 set\n")
    return root


def tcd_timit(root: Path) -> Path:
    for volunteer in ("01M", "08F", "27M", "34M"):
        video(root / f"volunteers/{volunteer}/Clips/straightcam/sa1.mp4", 15, rate=30)
    video(root / "volunteers/01M/Clips/30degcam/sa1.mp4")
    for number in (1, 3):
        video(root / f"lipspeakers/Lipspkr{number}/Clips/straightcam/sx3.mp4")
    text(
        root / "volunteer_labelfiles.mlf",
        '#!MLF!#\n"/somewhere/volunteers/01F/Clips/straightcam/sa1.mp4"\n'
        "0 1000000 sil\n1000000 2000000 sh\n2000000 3500000 iy\n.\n"
        '"/somewhere/volunteers/08F/Clips/straightcam/sa1.rec"\n0 1000000 d\n.\n',
    )
    text(root / "PROMPTS.TXT", "; prompts\nThis isn't, well, TIMIT's sentence. (sa1)\n")
    return root


def crema_d_av(root: Path) -> Path:
    for actor in (1001, 1002, 1015):
        video(root / f"VideoFlash/{actor}_DFA_ANG_XX.flv")
    video(root / "VideoFlash/1003_IEO_SAD_LO.flv", silent=True)
    video(root / "VideoFlash/1076_MTI_NEU_XX.flv")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    text(root / "VideoFlash/1004_TSI_HAP_XX.flv", pointer)
    with_audio = video(root / "AudioWAV/x.mkv")
    audio.save(root / "AudioWAV/1003_IEO_SAD_LO.wav", *audio.load(with_audio))
    with_audio.unlink()
    return root


def lrw(root: Path) -> Path:
    for folder in ("train", "val", "test"):
        path = root / f"lipread_mp4/ABOUT/{folder}/ABOUT_00001.mp4"
        video(path, 29, audio_seconds=1.216)
        text(
            path.with_suffix(".txt"),
            "Disk reference: 55\nChannel: BBC One\nProgram start: 20120304 1800\n"
            "Clip start: 12.34 seconds\nDuration: 0.40 seconds\n",
        )
    return root


def lrs2(root: Path) -> Path:
    """The lists lie above the archive's folder, and name test clips with a second field."""
    for name in ("111/00001", "222/00001", "333/00001", "333/00002"):
        video(root / f"mvlrs_v1/main/{name}.mp4")
        text(root / f"mvlrs_v1/main/{name}.txt", "Text:  THAT WAS {NS} THE PLAN\nConf:  4\n")
    video(root / "mvlrs_v1/pretrain/111/00007.mp4", 25)
    text(
        root / "mvlrs_v1/pretrain/111/00007.txt",
        "Text:  SO THE WEATHER\nConf:  5\n\nWORD START END ASDSCORE\nSO 0.12 0.31 6.4\n"
        "{LG} 0.31 0.32 1.0\nTHE 0.32 0.40 5.9\nWEATHER 0.42 0.90 7.1\n",
    )
    text(root / "train.txt", "111/00001\n\n")
    text(root / "val.txt", "222/00001\n")
    text(root / "test.txt", "333/00001 NF\n333/00002 MV\n")
    text(root / "pretrain.txt", "111/00007\n")
    return root


def lrs3(root: Path) -> Path:
    names = ("pretrain/AbCdEfGhIjK/00001", "trainval/AbCdEfGhIjK/50001",
             "trainval/BbCdEfGhIjK/50001", "test/CbCdEfGhIjK/00002")  # fmt: skip
    for name in names:
        video(root / f"{name}.mp4", 25)
        text(
            root / f"{name}.txt",
            "Text:  AND THEN\nConf:   5\nRef:   AbCdEfGhIjK\n\nFRAME \tX \tY \tW \tH \n"
            "000123 \t0.364 \t0.117 \t0.214 \t0.381 \n000124 \t0.364 \t0.117 \t0.214 \t0.381 \n\n"
            "WORD START END ASDSCORE\nAND 0.02 0.18 5.6\nTHEN 0.20 0.41 6.0\n",
        )
    return root


def ldc2009v01(root: Path) -> Path:
    for name in ("F02/F02_CID_Sentences_List_A", "M01/M01_C", "M02/M02_C", "F03/F03_NU6_I"):
        video(root / f"video/{name}.mov", 30)
    return root


def voxceleb2(root: Path) -> Path:
    """The first numbers of two videos are equal; a text file lists more frames than there are."""
    names = ("dev/mp4/id00012/AbCdEfGhIjK/00001", "dev/mp4/id00012/BbCdEfGhIjK/00001",
             "dev/mp4/id00013/CbCdEfGhIjK/00001", "test/mp4/id00017/DbCdEfGhIjK/00001",
             "dev/mp4/id00014/EbCdEfGhIjK/00001")  # fmt: skip
    for name in names:
        video(root / f"{name}.mp4")
        count = 20 if "id00014" in name else 12
        rows = "".join(f"{245 + i:06d} \t0.392 \t0.223 \t0.253 \t0.451 \n" for i in range(count))
        text(
            root / f"{name.replace('/mp4/', '/txt/')}.txt",
            "Identity  : \tid00012\nReference : \tAbCdEfGhIjK\nOffset    : \t1\n"
            f"FV Conf   : \t16.120\t(1)\nASD Conf  : \t4.465\n\nFRAME \tX \tY \tW \tH \n{rows}",
        )
    return root


def hdtf(root: Path) -> Path:
    """A full video of two intervals, a ready clip, a video that is gone."""
    lists = root / "HDTF_dataset"
    video(root / "videos/WDA_NameOne_000.mp4", 75)
    video(root / "videos/RD_Radio1_000_0.mp4")
    video(root / "videos/WDA_NameTwo_001.mp4", 25)
    text(
        lists / "WDA_annotion_time.txt",
        "\ufeffWDA_NameOne_000.mp4 00:00-00:01 00:02-00:03\nWDA_Gone_000.mp4 00:00-00:09\n"
        "WDA_NameTwo_001.mp4 00:00-00:01\n",
    )
    text(lists / "RD_annotion_time.txt", "RD_Radio1_000.mp4 00:10-00:11\n")
    text(lists / "WDA_resolution.txt", "WDA_NameOne_000.mp4 720\n")
    text(lists / "WDA_crop_wh.txt", "WDA_NameOne_000_0.mp4 0 800 120 600\n")
    text(lists / "WDA_video_url.txt", "WDA_NameOne_000 https://example.com/1\n")
    return root


def folder(root: Path) -> Path:
    for name in ("ann/1", "ann/2", "bob/1"):
        video(root / f"{name}.mp4")
    return root
