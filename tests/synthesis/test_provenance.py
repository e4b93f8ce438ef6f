import datetime
import subprocess

import numpy as np
import pytest

from lipsync_jax import __version__
from lipsync_jax.cli import main
from lipsync_jax.media import containers, video_reader
from lipsync_jax.provenance import c2pa, metadata
from tests.helpers import media_files, scenes
from tests.helpers.scenes import LEFT


@pytest.fixture
def face_video(tmp_path):
    return scenes.write_scenes(tmp_path / "film.mkv", [(LEFT, None)])


def generate(face_video, out, **options):
    options = {**scenes.OPTIONS, "lossless": False, **options}
    speech = scenes.write_tone(face_video.with_name("voice.wav"), 0.2)
    return scenes.lip_sync_pipeline().generate(face_video, speech, out, **options)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_file_says_what_made_it_and_when(face_video, tmp_path, suffix, capsys):
    out = tmp_path / f"out ü.{suffix}"
    generate(face_video, out)
    mark = metadata.read(out)
    assert (mark.version, mark.model_hash) == (__version__, "0123456789ab")
    generated_clip = datetime.datetime.fromisoformat(mark.date)
    assert abs((datetime.datetime.now(datetime.UTC) - generated_clip).total_seconds()) < 600
    with containers.open_container(out) as container:  # where every program looks
        tags = {key.lower(): text for key, text in container.metadata.items()}
    assert tags["comment"].startswith("synthetic media")
    assert main.main(["verify", str(out)]) == 0
    assert f"model 0123456789ab, made {mark.date}" in capsys.readouterr().out


def test_dates_can_be_given_so_that_files_are_reproducible(face_video, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    for name in ("a.mp4", "b.mp4"):
        generate(face_video, tmp_path / name)
    assert metadata.read(tmp_path / "a.mp4").date == "2001-09-09T01:46:40Z"
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("epoch", ["yesterday", "1" * 30])
def test_a_date_that_is_no_number_is_told_by_its_variable(monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(ValueError, match=f"SOURCE_DATE_EPOCH is '{epoch}': give whole seconds"):
        metadata.tags("0123456789ab")


def test_verify_fails_for_files_that_are_not_marked(face_video, tmp_path, capsys):
    generate(face_video, tmp_path / "out.mp4")
    plain = media_files.write_media(tmp_path / "plain.mp4", media_files.uniform_times(3))
    assert main.main(["verify", str(plain)]) == 1
    assert "plain.mp4: not marked as synthetic" in capsys.readouterr().out
    assert main.main(["verify", str(tmp_path / "out.mp4"), str(plain)]) == 1
    capsys.readouterr()
    (tmp_path / "text.mp4").write_text("not a video")
    names = ("gone.mp4", "text.mp4", "out.mp4")
    assert main.main(["verify", *(str(tmp_path / name) for name in names)]) == 1
    printed, errors = capsys.readouterr()
    assert "out.mp4: synthetic" in printed
    assert "gone.mp4 does not exist" in errors and "text.mp4 cannot be read" in errors


def test_a_label_is_seen_on_every_frame_and_nothing_else_changes(face_video, tmp_path):
    options = {"lossless": True, "loop": "repeat"}
    generate(face_video, tmp_path / "a.mp4", **options)
    generate(face_video, tmp_path / "b.mp4", label="KI · дубляж", **options)
    plain, labelled = (
        np.stack([f.image for f in video_reader.read_frames(tmp_path / name)])
        for name in ("a.mp4", "b.mp4")
    )
    changed = (plain != labelled).any(axis=-1)
    rows, columns = np.nonzero(changed.all(axis=0))
    assert rows.min() > 60 and columns.max() < 100 and len(rows) > 300
    assert not changed[:, :60].any()
    assert labelled[:, 60:].max() > 220 > plain[:, 66:].max()


@pytest.mark.parametrize(
    ("text", "fault"), [("  ", "`label` is empty"), ("AI 顔", "no letters for 顔")]
)
def test_labels_that_cannot_be_written_are_told(face_video, tmp_path, text, fault):
    with pytest.raises(ValueError, match=fault):
        generate(face_video, tmp_path / "a.mp4", label=text)
    assert not (tmp_path / "a.mp4").exists()


_CONFIG = """
[dn]
[authority]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
[leaf]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,emailProtection
authorityKeyIdentifier=keyid
[req]
distinguished_name=dn
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A chain and its key, made for this test by openssl."""
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "config").write_text(_CONFIG)

    def openssl(words):
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

    try:
        for name in ("authority", "leaf"):
            openssl(f"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key")
            openssl(f"req -new -key {name}.key -subj /CN={name}/O=Studio -out {name}.csr "
                    "-config config")  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    sign = "x509 -req -days 9 -extfile config -set_serial"
    openssl(f"{sign} 1 -in authority.csr -signkey authority.key -extensions authority -out a.pem")
    openssl(f"{sign} 2 -in leaf.csr -CA a.pem -CAkey authority.key -extensions leaf -out l.pem")
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "l.pem").read_bytes() + (folder / "a.pem").read_bytes())
    return {"c2pa_certificate": chain, "c2pa_key": folder / "leaf.key"}


def test_content_credentials_are_signed_and_tell_changes(face_video, tmp_path, certificate, capsys):
    pytest.importorskip("c2pa")
    out = tmp_path / "out.mp4"
    generate(face_video, out, **certificate)
    signed = c2pa.read(out)
    assert signed.synthetic and signed.validation_state == "Valid" and signed.signer == "Studio"
    assert signed.generator == f"lipsync_jax {__version__}"
    assert {p.name for p in tmp_path.iterdir()} == {"out.mp4", "film.mkv", "voice.wav"}
    assert len([*video_reader.read_frames(out)]) == 5
    assert c2pa.has_credentials(out) and main.main(["verify", str(out)]) == 0
    assert "valid, by lipsync_jax" in capsys.readouterr().out
    data = bytearray(out.read_bytes())
    data[data.rindex(b"mdat") + 100] ^= 255
    out.write_bytes(data)
    assert c2pa.read(out).validation_state == "Invalid" and main.main(["verify", str(out)]) == 1
    generate(face_video, out)
    assert c2pa.read(out) is None and not c2pa.has_credentials(out)


def test_signing_that_cannot_be_done_is_told_first(face_video, tmp_path, certificate, monkeypatch):
    with pytest.raises(ValueError, match="belong together"):
        generate(face_video, tmp_path / "a.mp4", c2pa_key=certificate["c2pa_key"])
    with pytest.raises(FileNotFoundError, match=r"`c2pa_certificate` .*gone\.pem does not exist"):
        generate(face_video, tmp_path / "a.mp4", **{**certificate, "c2pa_certificate": "gone.pem"})
    with pytest.raises(ValueError, match=r"a\.mkv: C2PA signs \.mp4"):
        generate(face_video, tmp_path / "a.mkv", **certificate)
    with monkeypatch.context() as patch:
        patch.setattr(c2pa, "is_installed", lambda: False)
        with pytest.raises(ValueError, match=r"pip install 'lipsync_jax\[c2pa\]'"):
            generate(face_video, tmp_path / "a.mp4", **certificate)
    pytest.importorskip("c2pa")
    wrong = {**certificate, "c2pa_key": certificate["c2pa_certificate"]}
    with pytest.raises(ValueError, match="is no unencrypted PEM private key"):
        generate(face_video, tmp_path / "a.mp4", **wrong)
    assert {p.name for p in tmp_path.iterdir()} == {"film.mkv", "voice.wav"}
