"""What can be wrong with the clips themselves: too few, still pictures, silence."""

from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.diagnostics.findings import FAULT, NOTE, OK, Finding
from lipsync_jax.diagnostics.sync_expert.clip_stats import Observed
from lipsync_jax.types import Json

SINGLE_CLIP, TOO_FEW = "single-clip data set", "too few clips"
CONSTANT, SILENT = "constant frames", "silent clips"

LEAST_CLIPS = 8  # unlike ones
# Minutes; 13 of one speaker gave the figures in docs/results.md, the published ones took hours.
_LITTLE = {"contrastive": 10, "cosine_bce": 300}
_STILL = 0.2  # grey values of 255, mean change of the lower face in 40 ms
_MANY = 0.1  # share of clips


def variety(observed: Sequence[Observed], total: int, loss: str) -> Finding:
    """Whether there are clips enough, each another one.

    Args:
        observed: some of the clips.
        total: clips in the split.
        loss: `config.loss`; the published one needs more.
    """
    unlike = len({each.fingerprint for each in observed})
    seconds = float(np.mean([each.clip.duration for each in observed]))
    speakers = len({each.clip.speaker for each in observed})
    minutes = total * seconds / 60
    differ = f"{unlike} of {len(observed)}" if unlike < len(observed) else f"all of {unlike}"
    measured = (
        f"{_plural(total, 'training clip')} of {seconds:.1f} s on average, {minutes:.1f} minutes; "
        f"{differ} looked at differ, by {_plural(speakers, 'speaker')}"
    )
    figures = {"clips": total, "unlike": unlike, "looked_at": len(observed), "minutes": minutes}
    if unlike < LEAST_CLIPS:
        return Finding(
            "clips",
            FAULT,
            measured,
            "The expert learns these clips by heart, and what it has learnt fits no other.",
            f"Prepare at least {LEAST_CLIPS} different clips, better hundreds; look in the report "
            "of `lipsync prepare` for what was dropped.",
            SINGLE_CLIP if unlike == 1 else TOO_FEW,
            figures,
        )
    if minutes < _LITTLE[loss] or unlike < (1 - _MANY) * len(observed):
        return Finding(
            "clips",
            NOTE,
            measured,
            f"That is little for the loss `{loss}`; it may stay at chance or fit just these clips.",
            "Add clips, or use the variant `small_data` of configs/sync_expert.py, which learns "
            "from minutes.",
            figures=figures,
        )
    return Finding("clips", OK, measured, "There is enough to learn from.", figures=figures)


def movement(observed: Sequence[Observed]) -> Finding:
    """Whether the lower faces move."""
    motion = np.array([each.motion for each in observed])
    still = [
        each.clip.clip_id for each, moves in zip(observed, motion, strict=True) if moves < _STILL
    ]
    measured = (
        f"the lower face changes by {np.median(motion):.2f} grey values of 255 in 40 ms (median); "
        f"{_count(still, observed)} stand still"
    )
    figures = {"motion": [round(float(x), 3) for x in motion], "still": still}
    return _verdict(
        "faces",
        measured,
        still,
        observed,
        figures,
        "Lips move.",
        "A picture that never changes fits every sound alike, so there is nothing to tell true "
        "pairs from false ones by.",
        "Look at the clips: a frozen video, a photograph or a crop beside the face was prepared.",
        CONSTANT,
    )


def loudness(observed: Sequence[Observed]) -> Finding:
    """Whether there is speech."""
    silent = [each.clip.clip_id for each in observed if each.speech == 0]
    share = np.mean([each.speech for each in observed])
    measured = f"speech in {share:.0%} of the time; {_count(silent, observed)} have none"
    return _verdict(
        "sound",
        measured,
        silent,
        observed,
        {"speech": float(share), "silent": silent},
        "There is something to hear.",
        "Silence fits every picture alike, so there is nothing to tell true pairs from false "
        "ones by.",
        "Play the clips: was the right audio track taken, is it muted?",
        SILENT,
    )


def _verdict(
    check: str,
    measured: str,
    bad: Sequence[str],
    observed: Sequence[Observed],
    figures: Mapping[str, Json],
    fine: str,
    means: str,
    do: str,
    fault: str,
) -> Finding:
    """A fault where many clips are bad, a note where some are."""
    if not bad:
        return Finding(check, OK, measured, fine, figures=figures)
    if len(bad) <= _MANY * len(observed):
        return Finding(check, NOTE, f"{measured} ({', '.join(bad)})", means, do, figures=figures)
    return Finding(check, FAULT, measured, means, do, fault, figures)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _count(bad: Sequence[str], observed: Sequence[Observed]) -> str:
    return f"{len(bad)} of {len(observed)} clips"
