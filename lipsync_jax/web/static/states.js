// What a job is and how far it is, in words.
import { clock } from "./dom.js";

export const ENDED = ["done", "failed", "cancelled", "interrupted"];
export const KINDS = { dub: "Dub", animate: "Animate", sync: "Check sync" };

export const hasEnded = (job) => ENDED.includes(job.state);

export const progressText = (job) => {
  const p = job.progress;
  if (p.stage === "cancelling") return "Cancelling; a compilation is finished first";
  const parts = [p.stage ? p.stage[0].toUpperCase() + p.stage.slice(1) : "Starting"];
  if (p.total) parts.push(`frame ${p.done.toLocaleString("en")} of ${p.total.toLocaleString("en")}`);
  if (p.per_second) parts.push(`${p.per_second.toFixed(p.per_second < 10 ? 1 : 0)} frames/s`);
  const seconds = Date.now() / 1000 - job.started;
  if (p.seconds_left !== null && seconds > 3) parts.push(`${clock(p.seconds_left)} left in this stage`);
  return parts.join(", ");
};

export const shareDone = (job) => {
  if (hasEnded(job)) return 1;
  const p = job.progress;
  return job.state === "running" && p.total ? Math.min(1, p.done / p.total) : 0;
};

export const stateText = (job) => {
  switch (job.state) {
    case "waiting":
      return "Waiting";
    case "running":
      return progressText(job);
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
