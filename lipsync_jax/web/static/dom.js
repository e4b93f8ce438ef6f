// Elements, and words of numbers, for the panel of jobs and results.

export const make = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "role" && !name.startsWith("aria")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};
export const clock = (seconds) => {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

export const say = (text) => {
  const node = document.getElementById("said");
  if (node) node.textContent = text;
};

export const button = (text, label, onclick) => make("button", { type: "button", "aria-label": label, onclick }, text);

export const figure = (caption, node) => make("figure", {}, make("figcaption", {}, caption), node);

export const link = (text, href, main = false) => make("a", { className: main ? "button main" : "button", href, download: "" }, text);

export const table = (lines) =>
  make("table", {}, make("tbody", {}, ...lines.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
