"""Reports a result as one self-contained HTML file."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.evaluation.report import page, plots
from lipsync_jax.evaluation.results import BASELINES, METRICS, TRUTH, ReportSample, cell
from lipsync_jax.evaluation.verdict import SYNC_METRICS, unreliable_metrics
from lipsync_jax.types import Json

_STYLE = """
h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
p.note { color: #666; font-size: .88rem; max-width: 46rem; }
td.best { font-weight: 650; } td span { color: #888; font-size: .78rem; }
td.reference { color: #666; }
tr.unreliable td, tr.unreliable td span { color: #b5b5b5; font-weight: 400; }
figcaption { font-size: .8rem; color: #555; }
img { max-width: 100%; display: block; }
"""


def write(
    path: str | os.PathLike,
    result: Mapping[str, Json],
    report_samples: Sequence[ReportSample],
    title: str,
) -> None:
    """Writes the report.

    Args:
        path: the .html file.
        result: of `results.evaluate`.
        report_samples: the clips to show.
        title: heading of the page.
    """
    colours = plots.colours_of(result["order"])
    parts = [
        _heading(result, title),
        _verdict(result),
        "<h2>Metrics</h2>",
        _table(result),
        _failures(result),
        _intervals(result, colours),
        _offsets(result, colours),
        *(_clip(each, colours) for each in report_samples),
        "<h2>Protocol</h2>",
        _protocol(result),
    ]
    text = page.document(html.escape(title), parts, _STYLE)
    # Names of files need not be UTF-8.
    paths.write_text(Path(path), text, errors="backslashreplace")


def _heading(result: Mapping[str, Json], title: str) -> str:
    protocol, sync_model = result["protocol"], result["sync_model"]
    description = "sync was not evaluated"
    if sync_model:
        kind = html.escape(sync_model["kind"])
        description = f"sync evaluated by {kind}, weights {html.escape(sync_model['model'])}"
    if result["lip_reader"]:
        description += f", lip reader {html.escape(str(result['lip_reader']))}"
    clips = "1 clip" if result["clips"] == 1 else f"{result['clips']} clips"
    name = html.escape(f"{protocol['name']}-{protocol['version']}")
    return (
        f"<h1>{html.escape(title)}</h1>\n<p class=note>{clips}, protocol "
        f"{name}, {description}; lipsync_jax {result['lipsync_jax']}. "
        f"Means over clips with {protocol['confidence_level']:.0%} bootstrap intervals over clips. "
        "Bold: the best of the methods; ground truth and baselines are in grey.</p>"
    )


def _verdict(result: Mapping[str, Json]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in result.get("verdict", ()))
    return f"<h2>Verdict</h2><ul>{items}</ul>" if items else ""


def _table(result: Mapping[str, Json]) -> str:
    methods, order, unreliable = result["methods"], result["order"], unreliable_metrics(result)
    lines = ["".join(["<tr><th></th>", *(f"<th>{html.escape(n)}</th>" for n in order), "</tr>"])]
    for metric, about in METRICS.items():
        found = {name: methods[name]["metrics"].get(metric) for name in order}
        if not any(found.values()):
            continue
        best = None if metric in unreliable else _best(found, about.direction)
        cells = []
        for name in order:
            mean, _, rest = cell(metric, found[name]).partition(" ")
            kind = "best" if name == best else "reference" if name in (TRUTH, *BASELINES) else ""
            cells.append(f'<td class="{kind}">{mean} <span>{rest}</span></td>')
        arrow = {1: " ↑", -1: " ↓", 0: ""}[about.direction]
        row = ' class="unreliable"' if metric in unreliable else ""
        label = f"{html.escape(about.label)}{arrow}"
        lines.append(f"<tr{row}><td>{label}</td>{''.join(cells)}</tr>")
    rates = [methods[name].get("success") for name in order]
    rated = (
        f"<td>{rate['rate']:.1%}</td>" if rate and rate["rate"] is not None else "<td></td>"
        for rate in rates
    )
    lines.append(f"<tr><td>generated ↑</td>{''.join(rated)}</tr>")
    return f"<div class=wide><table>{''.join(lines)}</table></div>"


def _best(found: Mapping[str, Json], direction: int) -> str | None:
    candidates = {
        name: each["mean"]
        for name, each in found.items()
        if each and each["mean"] is not None and name not in (TRUTH, *BASELINES)
    }
    if not direction or len(candidates) < 2:
        return None
    return max(candidates, key=lambda name: direction * candidates[name])


def _failures(result: Mapping[str, Json]) -> str:
    lines = [("reference", each) for each in result["skipped"]]
    for name in result["order"]:
        success = result["methods"][name].get("success", {})
        lines += [(name, each) for each in success.get("failed", [])]
    if not lines:
        return ""
    rows = "".join(
        f"<li>{html.escape(name)}, {html.escape(each['clip'])}: {html.escape(each['reason'])}</li>"
        for name, each in lines
    )
    return f"<h2>Left out</h2><ul>{rows}</ul>"


def _intervals(result: Mapping[str, Json], colours: Mapping[str, str]) -> str:
    metrics = {}
    for metric, about in METRICS.items():
        found = {
            name: each
            for name in result["order"]
            if (each := result["methods"][name]["metrics"].get(metric)) and each["mean"] is not None
        }
        if about.direction and len(found) > 1:
            metrics[about.label] = found
    if not metrics:
        return ""
    return f"<h2>Intervals</h2>{_figure(plots.confidence_intervals(metrics, colours), '')}"


def _offsets(result: Mapping[str, Json], colours: Mapping[str, str]) -> str:
    protocol = result["protocol"]
    for prefix in SYNC_METRICS:
        found = {}
        for name in result["order"]:
            clips = result["methods"][name]["clips"].values()
            pairs = [
                (clip[f"{prefix}_offset"], clip[f"{prefix}_prominence"])
                for clip in clips
                if f"{prefix}_offset" in clip
            ]
            if pairs:
                least = protocol["min_prominence"]
                confident = [offset for offset, prominence in pairs if prominence >= least]
                uncertain = [offset for offset, prominence in pairs if prominence < least]
                found[name] = confident, uncertain
        if found:
            plot = plots.offset_histograms(found, protocol["offset_range"], colours)
            note = (
                "Positive: the audio is later than the video. The grey band is in sync, at most "
                "one frame; pale bars are clips without a confident offset."
            )
            return f"<h2>Audio offset</h2><p class=note>{note}</p>{_figure(plot, '')}"
    return ""


def _clip(report_sample: ReportSample, colours: Mapping[str, str]) -> str:
    strips = "".join(
        _figure(plots.face_strip(faces), name, "jpeg")
        for name, faces in report_sample.face_crops.items()
    )
    plot = ""
    if report_sample.distances:
        plot = _figure(
            plots.landmark_distance(report_sample.distances, colours), "landmark distance over time"
        )
    return f"<h2>{html.escape(report_sample.clip)}</h2>{strips}{plot}"


def _protocol(result: Mapping[str, Json]) -> str:
    values = {
        **result["protocol"],
        "landmarks": result["landmarks"] or "none",
        "embedder": result["embedder"] or "none",
        "face below crops of lips": result.get("lip_face") or "none",
    }
    rows = ((html.escape(name), html.escape(str(value))) for name, value in values.items())
    return page.table([], rows)


def _figure(image: bytes, caption: str, kind: str = "png") -> str:
    data = base64.b64encode(image).decode()
    text = html.escape(caption)
    return (
        f'<figure><figcaption>{text}</figcaption><img alt="{text}" '
        f'src="data:image/{kind};base64,{data}"></figure>'
    )
