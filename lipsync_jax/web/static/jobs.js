// The panel of jobs and results. It reads /api/jobs, so a reload or a second tab shows the same.
"use strict";

(() => {
  const ENDED = ["done", "failed", "cancelled", "interrupted"];
  const KINDS = { dub: "Dub", animate: "Animate", sync: "Check sync" };
  const rows = new Map(); // job id -> {item, key}
  let shown = null; // id of the job whose result is shown
  let shownKey = null;
  let known = new Map(); // job id -> state, for announcements
  let failures = 0;
  let timer = null;
  let wantNewest = false;

  const make = (tag, properties = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node && name !== "role" && !name.startsWith("aria")) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const clock = (seconds) => {
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };
  const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  const say = (text) => {
    const node = document.getElementById("said");
    if (node) node.textContent = text;
  };

  const request = async (path, method = "GET", body = undefined) => {
    const answer = await fetch(path, {
      method,
      headers: body ? { "content-type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
    if (answer.status === 204) return null;
    const values = await answer.json();
    if (!answer.ok) throw new Error(values.error || `the server answered ${answer.status}`);
    return values;
  };
  const act = (path, method = "POST", body = undefined) => async () => {
    tell("");
    try {
      const answer = await request(path, method, body);
      if (answer && answer.job) shown = answer.job;
      await refresh();
    } catch (error) {
      tell(error.message);
    }
  };
  const tell = (text) => {
    const node = document.getElementById("told");
    node.textContent = text;
    node.hidden = !text;
  };

  const stateText = (job) => {
    const p = job.progress;
    switch (job.state) {
      case "waiting":
        return "Waiting";
      case "running": {
        if (p.stage === "cancelling") return "Cancelling; a compilation is finished first";
        const parts = [p.stage ? p.stage[0].toUpperCase() + p.stage.slice(1) : "Starting"];
        if (p.total) parts.push(`frame ${p.done.toLocaleString("en")} of ${p.total.toLocaleString("en")}`);
        if (p.per_second) parts.push(`${p.per_second.toFixed(p.per_second < 10 ? 1 : 0)} frames/s`);
        const seconds = Date.now() / 1000 - job.started;
        if (p.seconds_left !== null && seconds > 3) parts.push(`${clock(p.seconds_left)} left in this stage`);
        return parts.join(", ");
      }
      case "done":
        return `Done in ${clock(job.ended - job.started)}`;
      case "failed":
        return `Failed: ${job.error}`;
      case "cancelled":
        return "Cancelled; nothing was written";
      default:
        return `Interrupted: ${job.error}`;
    }
  };

  const button = (text, label, onclick) => make("button", { type: "button", "aria-label": label, onclick }, text);

  const buttonsOf = (job, first) => {
    const base = `/api/jobs/${job.job_id}`;
    const what = `${KINDS[job.kind]}, ${job.title}`;
    const found = [];
    if (job.state === "done") found.push(button("Show", `Show: ${what}`, () => show(job.job_id, true)));
    if (job.state === "waiting" && !first) found.push(button("Run next", `Run next: ${what}`, act(`${base}/first`)));
    if (!ENDED.includes(job.state)) found.push(button("Cancel", `Cancel: ${what}`, act(`${base}/cancel`)));
    if (["failed", "cancelled", "interrupted"].includes(job.state))
      found.push(button("Run again", `Run again: ${what}`, act(`${base}/again`)));
    if (job.state !== "running") {
      found.push(
        button("Delete", `Delete: ${what}`, () => {
          if (window.confirm(`Delete this job, its files and its result? (${what})`)) act(base, "DELETE")();
        })
      );
    }
    return found;
  };

  const fillRow = (row, job, first) => {
    const key = JSON.stringify([job.state, job.error, first, job.report && job.report.result]);
    if (row.key !== key) {
      row.key = key;
      row.item.className = job.state;
      row.buttons.replaceChildren(...buttonsOf(job, first));
      row.details.replaceChildren();
      if (job.details) {
        const copy = button("Copy for a report", "Copy the details of the failure for a report", async () => {
          await navigator.clipboard.writeText(`${job.kind} ${JSON.stringify(job.options)}\n${job.error}\n${job.details}`);
          say("Copied");
        });
        row.details.append(
          make("details", {}, make("summary", {}, "Details"), make("pre", { tabIndex: 0 }, job.details), copy)
        );
      }
    }
    if (job.has_thumbnail && !row.picture.getAttribute("src"))
      row.picture.setAttribute("src", `/api/jobs/${job.job_id}/thumbnail`);
    row.item.classList.toggle("shown", job.job_id === shown);
    const text = stateText(job);
    if (row.state.textContent !== text) row.state.textContent = text;
    const running = job.state === "running";
    row.bar.hidden = !running;
    if (running) {
      const share = job.progress.total ? Math.min(1, job.progress.done / job.progress.total) : 0;
      row.fill.style.width = `${100 * share}%`;
      row.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      row.bar.setAttribute("aria-valuetext", text);
    }
  };

  const makeRow = (job) => {
    const picture = make("img", { className: "picture", alt: "" });
    picture.style.visibility = "hidden";
    picture.onload = () => (picture.style.visibility = "visible");
    const title = make("div", { className: "title" }, `${KINDS[job.kind]}: ${job.title}`);
    const state = make("div", { className: "state" });
    const fill = make("div", { className: "fill" });
    const bar = make(
      "div",
      { className: "track", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": `Progress of ${job.title}` },
      fill
    );
    const buttons = make("div", { className: "buttons" });
    const details = make("div");
    const item = make("li", {}, picture, make("div", {}, title, state, bar, buttons, details));
    item.dataset.job = job.job_id;
    return { item, picture, state, bar, fill, buttons, details, key: "" };
  };

  const update = (jobs) => {
    const list = document.getElementById("job-list");
    if (!list) return;
    const firstWaiting = jobs.find((job) => job.state === "waiting");
    const ids = new Set(jobs.map((job) => job.job_id));
    for (const [id, row] of rows) {
      if (!ids.has(id)) {
        row.item.remove();
        rows.delete(id);
      }
    }
    jobs.forEach((job, place) => {
      if (!rows.has(job.job_id)) rows.set(job.job_id, makeRow(job));
      const row = rows.get(job.job_id);
      fillRow(row, job, job === firstWaiting);
      if (list.children[place] !== row.item) list.insertBefore(row.item, list.children[place] || null);
      const before = known.get(job.job_id);
      if (before && before !== job.state) {
        say(`${KINDS[job.kind]}, ${job.title}: ${stateText(job)}`);
        if (job.state === "done" && (shown === null || shown === job.job_id || shownIsOld(jobs))) shown = job.job_id;
      }
    });
    known = new Map(jobs.map((job) => [job.job_id, job.state]));
    document.getElementById("no-jobs").hidden = jobs.length > 0;
    const videos = jobs.filter((job) => job.state === "done" && job.report.result).length;
    document.getElementById("all-results").hidden = videos < 2;
    if (wantNewest && jobs.length) {
      shown = jobs.reduce((a, b) => (a.created > b.created ? a : b)).job_id;
      wantNewest = false;
      for (const row of rows.values()) row.item.classList.toggle("shown", row.item.dataset.job === shown);
    }
    if (shown === null || !ids.has(shown)) {
      const last = jobs.find((job) => job.state === "done");
      shown = last ? last.job_id : null;
    }
    showResult(jobs.find((job) => job.job_id === shown));
  };

  const shownIsOld = (jobs) => {
    const job = jobs.find((each) => each.job_id === shown);
    return !job || ENDED.includes(job.state);
  };

  const show = (id, focus) => {
    shown = id;
    refresh().then(() => {
      if (!focus) return;
      const heading = document.getElementById("result-title");
      heading.focus();
      heading.scrollIntoView({ block: "nearest" });
    });
  };

  const showResult = (job) => {
    const key = job ? `${job.job_id} ${job.state}` : "";
    if (key === shownKey) return;
    shownKey = key;
    const place = document.getElementById("result");
    const title = document.getElementById("result-title");
    title.textContent = job ? `Result of ${job.title}` : "Result";
    if (!job) {
      place.replaceChildren(
        make("p", { className: "quiet" }, "The result appears here, beside its source. Fill in a form and start a job.")
      );
    } else if (job.state === "done") {
      place.replaceChildren(...(job.kind === "sync" ? syncResult(job) : videoResult(job)));
    } else {
      const text = ENDED.includes(job.state) ? stateText(job) : "This job is not finished yet; its progress is in the list of jobs.";
      place.replaceChildren(make("p", { className: "quiet" }, text));
    }
  };

  const figure = (caption, node) => make("figure", {}, make("figcaption", {}, caption), node);

  const link = (text, href, main = false) => make("a", { className: main ? "button main" : "button", href, download: "" }, text);

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

  const table = (lines) =>
    make("table", {}, make("tbody", {}, ...lines.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));

  const times = (intervals, player) => {
    const node = make("span");
    for (const [start, end] of intervals.slice(0, 20)) {
      const text = `${clock(start)} to ${clock(end)}`;
      node.append(make("button", { type: "button", className: "time", "aria-label": `Go to ${text}`, onclick: () => (player.currentTime = start) }, text));
    }
    if (intervals.length > 20) node.append(`and ${intervals.length - 20} more`);
    return node;
  };

  const videoResult = (job) => {
    const base = `/api/jobs/${job.job_id}`;
    const r = job.report;
    const [pair, player] = players(job);
    const lines = [
      ["Frames", `${r.frames.toLocaleString("en")} written, ${r.edited_frames.toLocaleString("en")} with a generated face, ${r.unchanged_frames.toLocaleString("en")} unchanged`],
      ["Length", `${r.duration_seconds.toFixed(2)} s at ${Number(r.frame_rate_fps.toPrecision(6))} frames a second`],
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

  const syncResult = (job) => {
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

  const refresh = async () => {
    clearTimeout(timer);
    let wait = 5000;
    try {
      const jobs = await request("/api/jobs");
      failures = 0;
      update(jobs);
      if (jobs.some((job) => !ENDED.includes(job.state))) wait = 500;
    } catch (error) {
      failures += 1;
      wait = 1000;
      console.debug(error);
    }
    const banner = document.getElementById("offline");
    if (banner) banner.hidden = failures < 3;
    clearTimeout(timer);
    timer = setTimeout(refresh, wait);
  };

  const modelStatus = async () => {
    try {
      const answer = await fetch("/api/status");
      const { status, models } = await answer.json();
      const node = document.getElementById("model-status");
      const words = { loading: "Loading the model...", compiling: "Compiling the model...", ready: models.dub.length ? `Model ${models.dub.join(", ")} is ready.` : "" };
      if (node) node.textContent = words[status] ?? status;
      if (status === "ready" || !(status in words)) return;
    } catch (error) {
      console.debug(error);
    }
    setTimeout(modelStatus, 2000);
  };

  const start = () => {
    if (!document.getElementById("job-list")) return setTimeout(start, 100); // gradio is not there yet
    refresh();
    modelStatus();
  };
  window.lipsync = {
    async submitted() {
      wantNewest = true;
      await refresh();
      document.getElementById("jobs-title").scrollIntoView({ block: "nearest" });
    },
  };
  start();
})();
