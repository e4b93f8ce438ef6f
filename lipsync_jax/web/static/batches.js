// A batch: jobs that are rows of one table. It has one place in the list of jobs.
import { button, link, make } from "./dom.js";
import { hasEnded, progressText, shareDone, stateText } from "./states.js";

// Groups jobs into entries of the list, in the order of their first job.
export const entriesOf = (jobs) => {
  const batches = new Map();
  const entries = [];
  for (const job of jobs) {
    const rows = job.batch && batches.get(job.batch);
    if (rows) {
      rows.push(job);
      continue;
    }
    const entry = { id: job.batch || job.job_id, jobs: [job], isBatch: Boolean(job.batch) };
    if (job.batch) batches.set(job.batch, entry.jobs);
    entries.push(entry);
  }
  for (const entry of entries) entry.jobs.sort((a, b) => a.row - b.row);
  return entries;
};

export const batchTitle = (rows) => `Batch of ${rows.length} row${rows.length === 1 ? "" : "s"}`;

const count = (rows, ...states) => rows.filter((job) => states.includes(job.state)).length;

export const batchText = (rows) => {
  const parts = [`${count(rows, "done")} of ${rows.length} done`];
  for (const [state, words] of [["failed", "failed"], ["cancelled", "cancelled"], ["interrupted", "interrupted"], ["waiting", "waiting"]]) {
    if (count(rows, state)) parts.push(`${count(rows, state)} ${words}`);
  }
  const running = rows.find((job) => job.state === "running");
  if (running) parts.push(`row ${running.row}: ${progressText(running)}`);
  return parts.join(", ");
};

export const batchShare = (rows) => rows.reduce((sum, job) => sum + shareDone(job), 0) / rows.length;

export const batchState = (rows) => {
  for (const state of ["running", "waiting", "interrupted", "failed", "cancelled"]) if (count(rows, state)) return state;
  return "done";
};

// Buttons of a batch; `act` sends a request, `show` shows the table.
export const batchButtons = (rows, act, show) => {
  const base = `/api/batches/${rows[0].batch}`;
  const what = batchTitle(rows);
  const found = [button("Show", `Show the table: ${what}`, show)];
  if (!rows.every(hasEnded)) found.push(button("Cancel", `Cancel: ${what}`, act(`${base}/cancel`)));
  if (rows.some(canRunAgain) && rows.every(hasEnded)) found.push(button("Run the rest again", `Run again what is not done: ${what}`, act(`${base}/again`)));
  if (!count(rows, "running")) {
    found.push(
      button("Delete", `Delete: ${what}`, () => {
        if (window.confirm(`Delete all rows of this batch, their files and results? (${what})`)) act(base, "DELETE")();
      })
    );
  }
  return found;
};

const canRunAgain = (job) => ["failed", "cancelled", "interrupted"].includes(job.state) && Object.keys(job.files).length > 0;

const rowNodes = (job, act, show) => {
  const base = `/api/jobs/${job.job_id}`;
  const buttons = make("div", { className: "buttons" });
  if (job.state === "done") {
    const download = link("Download", `${base}/result?download=true`);
    download.setAttribute("aria-label", `Download the result of row ${job.row}`);
    buttons.append(button("Show", `Show the result of row ${job.row}`, () => show(job.job_id, true)), download);
  } else if (!hasEnded(job)) {
    buttons.append(button("Cancel", `Cancel row ${job.row}`, act(`${base}/cancel`)));
  } else if (canRunAgain(job)) {
    buttons.append(button("Run again", `Run row ${job.row} again`, act(`${base}/again`)));
  }
  const text = job.state === "running" ? "Running" : stateText(job);
  const result = make("td", {}, make("div", { className: "state" }, text));
  if (buttons.childElementCount) result.append(buttons);
  const files = [job.names.face, job.names.audio].filter(Boolean).join(" + ");
  const name = make("td", {}, job.title);
  if (files && files !== job.title) name.append(make("div", { className: "quiet" }, files));
  return [make("th", { scope: "row" }, String(job.row)), name, result];
};

// The table of a batch, which `fill` keeps up to date without moving the focus.
export const batchTable = (batch, act, show) => {
  const body = make("tbody");
  const head = make("tr", {}, ...["Row", "Files", "Result"].map((word) => make("th", { scope: "col" }, word)));
  const all = make("div", { className: "buttons" });
  const lines = new Map(); // row -> {line, key}
  let wholeKey = "";
  const fill = (rows) => {
    const done = count(rows, "done");
    if (wholeKey !== String(done)) {
      wholeKey = String(done);
      all.replaceChildren(...(done ? [link(`Download ${done} as a ZIP file`, `/api/batches/${batch}/results.zip`, true)] : []));
    }
    for (const job of rows) {
      const key = JSON.stringify([job.job_id, job.state, job.error]);
      const known = lines.get(job.row) || { line: body.appendChild(make("tr")), key: "" };
      if (known.key !== key) known.line.replaceChildren(...rowNodes(job, act, show));
      known.line.className = job.state;
      lines.set(job.row, { line: known.line, key });
    }
  };
  const nodes = [all, make("table", { className: "rows" }, make("thead", {}, head), body)];
  return { nodes, fill };
};
