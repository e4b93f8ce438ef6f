// The panel of jobs and results. It reads /api/changes, so a reload or a second tab shows the same.
import { batchButtons, batchShare, batchState, batchTable, batchText, batchTitle, entriesOf } from "./batches.js";
import { button, make, say } from "./dom.js";
import { resultOf } from "./results.js";
import { hasEnded, KINDS, shareDone, stateText } from "./states.js";
import { watchUploads } from "./uploads.js";

let revision = ""; // of the last answer of /api/changes
let list = new Map(); // id -> job as /api/changes sends it, without its report
const rows = new Map(); // id of an entry -> {item, key}
let shown = null; // id of the job or batch whose result is shown
let shownKey = null;
let shownTable = null; // of a batch
let known = new Map(); // id -> state, for announcements
let failures = 0;
let timer = null;
let wantNewest = false;

const request = async (path, method = "GET", body = undefined) => {
  const answer = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  }).catch(() => {
    throw new Error("The server does not answer. Try again when it does.");
  });
  if (answer.status === 204) return null;
  const values = await answer.json();
  if (!answer.ok) throw new Error(values.error || `the server answered ${answer.status}`);
  return values;
};
const act = (path, method = "POST", body = undefined, follow = true) => async () => {
  tell("");
  try {
    const answer = await request(path, method, body);
    if (follow && answer && answer.job) shown = answer.job;
    await refresh();
  } catch (error) {
    tell(error.message);
  }
};
const stay = (path, method) => act(path, method, undefined, false); // the table stays shown
const tell = (text) => {
  const node = document.getElementById("told");
  node.textContent = text;
  node.hidden = !text;
};

const buttonsOf = (job, first) => {
  const base = `/api/jobs/${job.job_id}`;
  const what = `${KINDS[job.kind]}, ${job.title}`;
  const found = [];
  if (job.state === "done") found.push(button("Show", `Show: ${what}`, () => show(job.job_id, true)));
  if (job.state === "waiting" && !first) found.push(button("Run next", `Run next: ${what}`, act(`${base}/first`)));
  if (!hasEnded(job)) found.push(button("Cancel", `Cancel: ${what}`, act(`${base}/cancel`)));
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

// What the list shows of an entry: a job, or a batch as one.
const viewOf = (entry) => {
  const [job] = entry.jobs;
  if (!entry.isBatch) return { title: `${KINDS[job.kind]}: ${job.title}`, state: job.state, text: stateText(job), share: shareDone(job), key: [job.error] };
  const jobs = entry.jobs;
  return { title: batchTitle(jobs), state: batchState(jobs), text: batchText(jobs), share: batchShare(jobs), key: jobs.map((each) => each.state) };
};

const fillRow = (row, entry, first) => {
  const view = viewOf(entry);
  const job = entry.jobs.find((each) => each.has_thumbnail) || entry.jobs[0];
  const key = JSON.stringify([view.state, first, view.key]);
  if (row.key !== key) {
    row.key = key;
    row.item.className = view.state;
    row.buttons.replaceChildren(...(entry.isBatch ? batchButtons(entry.jobs, stay, () => show(entry.id, true)) : buttonsOf(job, first)));
    row.details.replaceChildren();
    if (job.has_details && !entry.isBatch) row.details.append(detailsOf(job));
  }
  if (job.has_thumbnail && !row.picture.getAttribute("src"))
    row.picture.setAttribute("src", `/api/jobs/${job.job_id}/thumbnail`);
  markShown(row, entry);
  if (row.state.textContent !== view.text) row.state.textContent = view.text;
  const running = view.state === "running";
  row.bar.hidden = !running;
  if (running) {
    row.fill.style.width = `${100 * view.share}%`;
    row.bar.setAttribute("aria-valuenow", String(Math.round(100 * view.share)));
    row.bar.setAttribute("aria-valuetext", view.text);
  }
};

// The traceback of a failure, which is fetched when it is opened.
const detailsOf = (job) => {
  const text = make("pre", { tabIndex: 0 });
  const copy = button("Copy for a report", "Copy the details of the failure for a report", async () => {
    await navigator.clipboard.writeText(text.dataset.report);
    say("Copied");
  });
  const node = make("details", {}, make("summary", {}, "Details"), text, copy);
  node.ontoggle = async () => {
    if (!node.open || text.textContent) return;
    try {
      const { kind, options, error, details } = await request(`/api/jobs/${job.job_id}`);
      text.textContent = details;
      text.dataset.report = `${kind} ${JSON.stringify(options)}\n${error}\n${details}`;
    } catch (error) {
      tell(error.message);
    }
  };
  return node;
};

const holds = (entry, id) => entry.id === id || entry.jobs.some((job) => job.job_id === id);
const markShown = (row, entry) => row.item.classList.toggle("shown", holds(entry, shown));

const makeRow = (entry) => {
  const { title: words } = viewOf(entry);
  const picture = make("img", { className: "picture", alt: "" });
  picture.style.visibility = "hidden";
  picture.onload = () => (picture.style.visibility = "visible");
  const title = make("div", { className: "title" }, words);
  const state = make("div", { className: "state" });
  const fill = make("div", { className: "fill" });
  const bar = make(
    "div",
    { className: "track", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": `Progress of ${words}` },
    fill
  );
  const buttons = make("div", { className: "buttons" });
  const details = make("div");
  const item = make("li", {}, picture, make("div", {}, title, state, bar, buttons, details));
  item.dataset.job = entry.id;
  return { item, picture, state, bar, fill, buttons, details, key: "" };
};

const update = (jobs) => {
  const items = document.getElementById("job-list");
  if (!items) return;
  const firstWaiting = jobs.find((job) => job.state === "waiting");
  const entries = entriesOf(jobs);
  const ids = new Set(entries.map((entry) => entry.id));
  for (const [id, row] of rows) {
    if (!ids.has(id)) {
      row.item.remove();
      rows.delete(id);
    }
  }
  entries.forEach((entry, place) => {
    if (!rows.has(entry.id)) rows.set(entry.id, makeRow(entry));
    const row = rows.get(entry.id);
    fillRow(row, entry, entry.jobs.includes(firstWaiting));
    if (items.children[place] !== row.item) items.insertBefore(row.item, items.children[place] || null);
    const { title, state, text } = viewOf(entry);
    const before = known.get(entry.id);
    if (before && before !== state) {
      say(`${title}: ${text}`);
      if (state === "done" && (shown === null || entry.id === shown || shownIsOld(entries))) shown = entry.id;
    }
    known.set(entry.id, state);
  });
  document.getElementById("no-jobs").hidden = jobs.length > 0;
  const videos = jobs.filter((job) => job.state === "done" && job.has_result).length;
  document.getElementById("all-results").hidden = videos < 2;
  if (wantNewest && jobs.length) {
    const newest = jobs.reduce((a, b) => (a.created > b.created ? a : b));
    shown = newest.batch || newest.job_id;
    wantNewest = false;
  }
  if (shown === null || !entries.some((entry) => holds(entry, shown))) {
    const last = entries.find((entry) => viewOf(entry).state === "done");
    shown = last ? last.id : null;
  }
  for (const entry of entries) markShown(rows.get(entry.id), entry);
  const batch = entries.find((entry) => entry.isBatch && entry.id === shown);
  if (batch) showBatch(batch.jobs);
  else showResult(jobs.find((job) => job.job_id === shown));
};

const shownIsOld = (entries) => {
  const entry = entries.find((each) => holds(each, shown));
  return !entry || entry.jobs.every(hasEnded);
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

const showBatch = (jobs) => {
  const { batch } = jobs[0];
  if (shownKey !== batch) {
    shownKey = batch;
    shownTable = batchTable(batch, stay, show);
    document.getElementById("result-title").textContent = batchTitle(jobs);
    document.getElementById("result").replaceChildren(...shownTable.nodes);
  }
  shownTable.fill(jobs);
};

const showResult = (job) => {
  const key = job ? `${job.job_id} ${job.state}` : "";
  if (key === shownKey) return;
  shownKey = key;
  const place = document.getElementById("result");
  document.getElementById("result-title").textContent = job ? `Result of ${job.title}` : "Result";
  const back = job && job.batch ? [button("Back to the table", "Back to the table of the batch", () => show(job.batch, true))] : [];
  if (!job) {
    place.replaceChildren(
      make("p", { className: "quiet" }, "The result appears here, beside its source. Fill in a form and start a job.")
    );
  } else if (job.state === "done") {
    showReport(job, key, (whole) => place.replaceChildren(...back, ...resultOf(whole, act)));
  } else {
    const text = hasEnded(job) ? stateText(job) : "This job is not finished yet; its progress is in the list of jobs.";
    place.replaceChildren(...back, make("p", { className: "quiet" }, text));
  }
};

// Fetches a job with its report, and fills the place of the result if that still is the job's.
const showReport = async (job, key, fill) => {
  try {
    const whole = await request(`/api/jobs/${job.job_id}`);
    if (shownKey === key) fill(whole);
  } catch (error) {
    if (shownKey === key) shownKey = null; // the next refresh tries again
    console.debug(error);
  }
};

const fetchJobs = async () => {
  const changes = await request(`/api/changes?since=${revision}`);
  const changed = new Map([...list, ...changes.jobs.map((job) => [job.job_id, job])]);
  // Answers of requests at the same time may come in any order: one may name a job that is gone.
  const order = (changes.order || [...list.keys()]).filter((id) => changed.has(id));
  list = new Map(order.map((id) => [id, changed.get(id)]));
  revision = changes.revision;
  return [...list.values()];
};

const refresh = async () => {
  clearTimeout(timer);
  let wait = 5000;
  try {
    const jobs = await fetchJobs();
    if (failures) tell("");
    failures = 0;
    update(jobs);
    if (jobs.some((job) => !hasEnded(job))) wait = 500;
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
watchUploads();
start();
