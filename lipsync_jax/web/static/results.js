// The result of one job: players, report, plot of sync.
import { button, clock, figure, link, make, table } from "./dom.js";

const players = (job) => {
  const base = `/api/jobs/${job.job_id}`;
  const result = make("video", { src: `${base}/result`, controls: true, playsInline: true, preload: "auto", "aria-label": `Result of ${job.title}` });
  result.id = "result-video";
  const picture = /\.(png|jpe?g|webp|bmp|gif|heic|heif|avif|tiff?)$/i.test(job.files.face);
  const source = picture
    ? make("img", { src: `${base}/input/face`, alt: `Source: ${job.names.face}` })
    : make("video", { src: `${base}/input/face`, muted: true, playsInline: true, preload: "auto", "aria-label": `Source: ${job.names.face}, without sound` });
  const left = figure("Source", source);
  source.onerror = () => left.replaceChildren(make("figcaption", {}, "Source"), make("p", { className: "quiet" }, "The browser cannot play the source file. The result is not affected."));
  if (!picture) {
    const follow = () => {
      const end = source.duration || 0;
      const time = Math.min(result.currentTime, end);
      if (Math.abs(source.currentTime - time) > 0.15) source.currentTime = time;
      if (!result.paused && time < end) source.play().catch(() => {});
      else source.pause();
    };
    for (const event of ["play", "pause", "seeked", "timeupdate", "ended"]) result.addEventListener(event, follow);
  }
  return [make("div", { className: "pair" }, left, figure("Result", result)), result];
};

const times = (intervals, player) => {
  const node = make("span");
  for (const [start, end] of intervals.slice(0, 20)) {
    const text = `${clock(start)} to ${clock(end)}`;
    node.append(make("button", { type: "button", className: "time", "aria-label": `Go to ${text}`, onclick: () => (player.currentTime = start) }, text));
  }
  if (intervals.length > 20) node.append(`and ${intervals.length - 20} more`);
  return node;
};

// Gradio's fields can be filled by the server only: its hidden button asks for the job.
const useAsFace = (id) => {
  window.lipsync.usedJob = id;
  document.querySelector("[role=tab][data-tab-id=dub]").click();
  document.getElementById("use-result").click();
  document.getElementById("face-kind").scrollIntoView({ block: "nearest" });
};

const videoResult = (job, act) => {
  const base = `/api/jobs/${job.job_id}`;
  const r = job.report;
  const [pair, player] = players(job);
  const size = make("span"); // animated faces are as small as the model makes them
  player.addEventListener("loadedmetadata", () => (size.textContent = `${player.videoWidth} x ${player.videoHeight} pixels`));
  const lines = [
    ["Frames", `${r.frames.toLocaleString("en")} written, ${r.edited_frames.toLocaleString("en")} with a generated face, ${r.unchanged_frames.toLocaleString("en")} unchanged`],
    ["Length", `${r.duration_seconds.toFixed(2)} s at ${Number(r.frame_rate_fps.toPrecision(6))} frames a second`],
    ["Size", size],
  ];
  if (r.faces.missing_seconds.length) lines.push(["No face found", times(r.faces.missing_seconds, player)]);
  if (r.faces.too_small_seconds.length) lines.push(["Face too small", times(r.faces.too_small_seconds, player)]);
  if (r.faces.height_px && r.faces.generated_height_px) {
    const soft = r.faces.height_px > 1.5 * r.faces.generated_height_px ? "; teeth and tongue are softer than the frame" : "";
    lines.push(["Face", `${Math.round(r.faces.height_px)} pixels high, generated at ${r.faces.generated_height_px} pixels${soft}`]);
  }
  for (const line of r.sync_text || []) {
    const at = line.indexOf(": ");
    lines.push([line.slice(0, at).replace(/^sync/, "Sync"), line.slice(at + 2)]);
  }
  if (job.kind === "dub" && !(r.sync_text || []).length) lines.push(["Sync", "not measured, since no sync model is loaded"]);
  lines.push(
    ["Time taken", `${r.wall_seconds.toFixed(1)} s, ${r.generated_fps.toFixed(1)} frames a second generated`],
    ["Model", r.model.credit || r.model.hash],
    ["File says that it is synthetic", r.tagged_as_synthetic ? "yes" : "no"]
  );
  for (const text of r.warnings || []) lines.push(["Note", text]);
  return [
    pair,
    make(
      "div",
      { className: "buttons" },
      link("Download video", `${base}/result?download=true`, true),
      link("Download report", `${base}/report`),
      button("Use as face video", "Use this result as the video of the face", () => useAsFace(job.job_id)),
      button("Check sync", "Check the sync of this result", act("/api/jobs", "POST", { kind: "sync", from_job: job.job_id }))
    ),
    table(lines),
  ];
};

const plot = (track) => {
  const values = track.distances.map((value, i) => [i - (track.distances.length - 1) / 2, value]).filter(([, value]) => value !== null);
  const [width, height, left, bottom] = [360, 150, 44, 34];
  const low = Math.min(...values.map(([, v]) => v));
  const high = Math.max(...values.map(([, v]) => v));
  const most = Math.max(...values.map(([o]) => Math.abs(o)));
  const x = (offset) => left + ((offset + most) / (2 * most)) * (width - left - 10);
  const y = (value) => 8 + ((high - value) / (high - low || 1)) * (height - bottom - 8);
  const line = values.map(([offset, value]) => `${x(offset).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const best = values.reduce((a, b) => (a[1] < b[1] ? a : b));
  const text = (px, py, words, anchor = "middle") => `<text x="${px}" y="${py}" font-size="11" text-anchor="${anchor}" fill="currentColor">${words}</text>`;
  const svg = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Distance between video and audio by offset; smallest at ${40 * best[0]} milliseconds">
    <line x1="${left}" y1="${height - bottom}" x2="${width - 10}" y2="${height - bottom}" stroke="currentColor"/>
    <polyline points="${line}" fill="none" stroke="currentColor" stroke-width="2"/>
    <circle cx="${x(best[0])}" cy="${y(best[1])}" r="4" fill="currentColor"/>
    ${[-most, 0, most].map((o) => text(x(o), height - bottom + 14, 40 * o)).join("")}
    ${text((left + width) / 2, height - 4, "audio later than video, ms")}
    ${text(left - 6, y(high) + 8, high.toFixed(1), "end")}${text(left - 6, y(low), low.toFixed(1), "end")}
  </svg>`;
  const holder = make("div");
  holder.innerHTML = svg;
  return figure("Distance of video and audio (lower is better)", holder.firstElementChild);
};

const syncResult = (job, act) => {
  const r = job.report;
  const base = `/api/jobs/${job.job_id}`;
  const found = [];
  if (!r.tracks.length) found.push(make("p", { className: "quiet" }, "No face was found. Use a video in which someone speaks on camera."));
  const lines = r.tracks.map((track, i) => [`Face ${track.face}, ${clock(track.start_seconds)} to ${clock(track.end_seconds)}`, r.lines[i]]);
  if (r.result) lines.push(["Audio shifted by", `${r.audio_shift_ms.toFixed(0)} ms (positive: to later times)`]);
  for (const text of r.warnings || []) lines.push(["Left out of the file", text]);
  lines.push(["Model", r.credit]);
  const longest = r.tracks.filter((track) => track.distances).sort((a, b) => b.end_seconds - b.start_seconds - (a.end_seconds - a.start_seconds))[0];
  if (longest) found.push(plot(longest));
  found.push(table(lines));
  const buttons = make("div", { className: "buttons" }, link("Download report", `${base}/report`));
  if (r.result) buttons.prepend(link("Download video", `${base}/result?download=true`, true));
  else if (r.tracks.some((track) => track.is_confident))
    buttons.prepend(button("Write the video in sync", "Write this video with its audio shifted into sync", act("/api/jobs/" + job.job_id + "/synced")));
  found.push(buttons);
  return found;
};

// Nodes of a job that is done. `act` sends a request when a button is pressed.
export const resultOf = (job, act) => (job.kind === "sync" ? syncResult(job, act) : videoResult(job, act));
