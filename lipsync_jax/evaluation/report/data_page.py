"""Writes the statistics of a prepared data set as one self-contained HTML file, without scripts."""

import base64
import html
import itertools
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from lipsync_jax.evaluation.report import page
from lipsync_jax.text import printable
from lipsync_jax.types import Json

_STYLE = """
h1 { overflow-wrap: anywhere; }
p.note { color: #555; font-size: .88rem; max-width: 46rem; margin: .3rem 0; }
p.warning { color: #8a3b00; max-width: 46rem; margin: .3rem 0; overflow-wrap: anywhere; }
.tall { max-height: 24rem; overflow: auto; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr));
          gap: 1rem 2rem; }
table { margin-bottom: .8rem; }
th:first-child, td:first-child { padding-left: 0; }
th { font-weight: 600; }
figcaption { font-size: .82rem; color: #555; overflow-wrap: anywhere; }
img, svg { max-width: 100%; height: auto; display: block; } svg { width: 100%; max-width: 26rem; }
svg text { font: 11px system-ui, sans-serif; fill: #555; }
svg rect { fill: #0b6fd0; } svg line { stroke: #bbb; }
summary { cursor: pointer; font-size: .9rem; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_THUMBNAIL = 96  # pixels, height of a frame in a contact sheet
_JPEG_QUALITY = 80
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 340, 170, 8, 18, 20  # of a plot, pixels
_MAX_BAR = 54  # pixels
_MAX_LISTED = 1000  # speakers, and clips that can't be read


def render(statistics: Mapping[str, Json], sheets: Mapping[str, Sequence[np.ndarray]]) -> str:
    """Returns the page.

    Args:
        statistics: of `data.statistics.compute`, with `data` (name of the data set), `lipsync_jax`
            (version) and `unreadable` (clips that can't be read).
        sheets: speaker -> frames to show, uint8 (height, width, 3), BGR.
    """
    title = _text(f"Data set {statistics['data']}")
    parts = [
        _heading(title, statistics),
        "<h2>Splits</h2>",
        _splits(statistics),
        "<h2>Clips</h2>",
        _clips(statistics),
        "<h2>Audio offset</h2>",
        _sync(statistics),
        "<h2>Text</h2>",
        _words(statistics["text"], statistics["total"]["clips"]),
        "<h2>Speakers</h2>",
        _speakers(statistics["speakers"], sheets),
    ]
    return page.document(title, parts, _STYLE, _POLICY)


def _heading(title: str, statistics: Mapping[str, Json]) -> str:
    total = statistics["total"]
    sizes = [
        _plural(total["clips"], "clip"),
        _duration(total["seconds"]),
        _plural(total["speakers"], "speaker"),
        f"lipsync_jax {_text(statistics['lipsync_jax'])}",
    ]
    lines = [f"<h1>{title}</h1>", f"<p class=note>{', '.join(sizes)}</p>"]
    if unreadable := statistics["unreadable"]:
        items = "".join(
            f"<li>{_text(each['split'])}, record {each['record']}: {_text(each['reason'])}</li>"
            for each in unreadable[:_MAX_LISTED]
        )
        lines.append(
            f"<p class=warning>{_plural(len(unreadable), 'clip')} can't be read and "
            f"{'is' if len(unreadable) == 1 else 'are'} not counted. Prepare the data set again."
            f"</p><details><summary>Reasons</summary><ul class=tall>{items}</ul>"
            f"{_not_listed(len(unreadable), 'clips')}</details>"
        )
    return "\n".join(lines)


def _splits(statistics: Mapping[str, Json]) -> str:
    rows = []
    for name, size in [*statistics["splits"].items(), ("all", statistics["total"])]:
        speech = size["speech_fraction"]
        rows.append(
            [
                _text(name),
                f"{size['clips']:,}",
                f"{size['speakers']:,}",
                f"{size['frames']:,}",
                _duration(size["seconds"]),
                f"{size['min_seconds']:.2f}",
                f"{size['median_seconds']:.2f}",
                f"{size['max_seconds']:.2f}",
                "not stored" if speech is None else f"{speech:.1%}",
            ]
        )
    heads = "split,clips,speakers,frames,duration,shortest (s),median (s),longest (s),speech"
    shared = statistics["speakers_in_several_splits"]
    note = "Speech: fraction of the frames with speech."
    warning = ""
    if shared:
        names = ", ".join(map(_text, shared[:5])) + (", ..." if len(shared) > 5 else "")
        warning = (
            f"<p class=warning>{_plural(len(shared), 'speaker')} in more than one split: {names}. "
            "Metrics of validation and test do not measure unseen speakers.</p>"
        )
    return f"{page.table(heads.split(','), rows)}<p class=note>{note}</p>{warning}"


def _clips(statistics: Mapping[str, Json]) -> str:
    formats = [
        ("frames a second", "frame_rates", ""),
        ("crop, height x width", "crop_sizes", ""),
        ("audio rate", "audio_rates", " Hz"),
    ]
    tables = [
        page.table(
            [label, "clips"],
            [[_text(value) + unit, f"{count:,}"] for value, count in statistics[key].items()],
        )
        for label, key, unit in formats
    ]
    plot = _histogram("Duration of clips, seconds", statistics["duration_seconds"])
    return f"<div class=panels>{plot}<div>{''.join(tables)}</div></div>"


def _sync(statistics: Mapping[str, Json]) -> str:
    offset, confidence = statistics["sync_offset_ms"], statistics["sync_confidence"]
    if offset is None and confidence is None:
        return "<p class=note>No clip has a measured offset.</p>"
    measured = max(each["values"] for each in (offset, confidence) if each)
    note = (
        f"Measured for {measured:,} of {_plural(statistics['total']['clips'], 'clip')}. Positive: "
        "the audio is later than the video."
    )
    plots = [_histogram("Offset, ms", offset), _histogram("Confidence", confidence)]
    return f"<p class=note>{note}</p><div class=panels>{''.join(plots)}</div>"


def _words(text: Mapping[str, Json], clips: int) -> str:
    rows = [
        ["clips with aligned words", f"{text['clips_with_words']:,} of {clips:,}"],
        ["clips with aligned phones", f"{text['clips_with_phones']:,} of {clips:,}"],
        ["clips with a transcript", f"{text['clips_with_transcript']:,} of {clips:,}"],
        ["aligned words", f"{text['words']:,}"],
        ["distinct words", f"{text['distinct_words']:,}"],
    ]
    table = page.table([], rows)
    if not text["words"]:
        return table
    frequent = [[_text(word), f"{count:,}"] for word, count in text["frequent_words"].items()]
    listed = page.table(["most frequent words", "count"], frequent)
    return f"<div class=panels><div>{table}</div><div class=tall>{listed}</div></div>"


def _speakers(speakers: Mapping[str, Json], sheets: Mapping[str, Sequence[np.ndarray]]) -> str:
    figures = "".join(
        _sheet(images, f"{_text(name)}: {_describe(speakers[name])}")
        for name, images in sheets.items()
        if images
    )
    rows = [
        [_text(name), f"{each['clips']:,}", _duration(each["seconds"]),
         _text(", ".join(each["splits"]))]
        for name, each in itertools.islice(speakers.items(), _MAX_LISTED)
    ]  # fmt: skip
    table = page.table(["speaker", "clips", "duration", "split"], rows)
    note = f"Frames of {len(sheets):,} of {_plural(len(speakers), 'speaker')}, spread evenly."
    return (
        f"<p class=note>{note}</p>{figures}<details><summary>All speakers</summary>"
        f"<div class=tall>{table}</div>{_not_listed(len(speakers), 'speakers')}</details>"
    )


def _not_listed(count: int, units: str) -> str:
    """Returns a note on what a list leaves out: a browser can't show hundreds of thousands."""
    if count <= _MAX_LISTED:
        return ""
    return f"<p class=note>The first {_MAX_LISTED:,} of {count:,} {units}; --json lists all.</p>"


def _describe(speaker: Mapping[str, Json]) -> str:
    splits = _text(", ".join(speaker["splits"]))
    return f"{_plural(speaker['clips'], 'clip')}, {_duration(speaker['seconds'])}, {splits}"


def _sheet(images: Sequence[np.ndarray], caption: str) -> str:
    resized = [
        cv2.resize(
            image,
            (max(1, round(image.shape[1] * _THUMBNAIL / image.shape[0])), _THUMBNAIL),
            interpolation=cv2.INTER_AREA,
        )
        for image in images
    ]
    strip = np.concatenate(resized, axis=1)
    _, jpeg = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    data = base64.b64encode(jpeg.tobytes()).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" width={strip.shape[1]} '
        f'height={strip.shape[0]} alt="frames of {caption}"><figcaption>{caption}</figcaption>'
        "</figure>"
    )


def _histogram(label: str, found: Mapping[str, Json] | None) -> str:
    """Returns a plot of a histogram as SVG; each bar has its range and count as a tooltip."""
    if found is None:
        return f"<figure><figcaption>{label}: not measured</figcaption></figure>"
    edges, counts = found["edges"], found["counts"]
    base, most = _HEIGHT - _BOTTOM, max(counts)
    step = min((_WIDTH - 2 * _LEFT) / len(counts), _MAX_BAR)
    bars = []
    for number, count in enumerate(counts):
        height = (base - _TOP) * count / most
        bars.append(
            f'<rect x="{_LEFT + number * step + 0.5:.1f}" y="{base - height:.1f}" '
            f'width="{step - 1:.1f}" height="{height:.1f}"><title>'
            f"{edges[number]:g} to {edges[number + 1]:g}: {count:,}</title></rect>"
        )
    ticks = []
    stride = -(-len(counts) // 5)  # six labels at most
    for number in range(0, len(edges), stride):
        anchor = "start" if not number else "end" if number * step > _WIDTH - 40 else "middle"
        ticks.append(
            f'<text x="{_LEFT + number * step:.1f}" y="{_HEIGHT - 5}" '
            f'text-anchor="{anchor}">{edges[number]:g}</text>'
        )
    summary = f"min {found['min']:.4g}, median {found['median']:.4g}, max {found['max']:.4g}"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Histogram: {label}; {summary}"><text x="{_LEFT}" y="12">'
        f"clips per bin, highest: {most:,}</text>{''.join(bars)}"
        f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _LEFT}" y2="{base}"/>{"".join(ticks)}</svg>'
        f"<figcaption>{label} ({summary})</figcaption></figure>"
    )


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{seconds:.1f} s"


def _plural(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _text(value: object) -> str:
    return html.escape(printable(value))
