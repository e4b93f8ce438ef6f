import { make } from "./dom.js";

// Types of files that a browser does not know, such as IMG_1.MOV or .mkv: gradio refuses them.
const TYPES = {
  video: "3g2 3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts webm wmv",
  audio: "3ga aac ac3 aif aiff amr caf flac m4a m4b mka mp3 oga ogg opus wav wma",
  image: "avif bmp heic heif jpeg jpg png tif tiff webp",
};
const SUFFIXES = new Map(Object.entries(TYPES).flatMap(([type, names]) => names.split(" ").map((name) => [name, type])));

// Returns the file, or the same content with a type. A recording may be a video: its sound is used.
const typed = (file, accept) => {
  const suffix = file.name.toLowerCase().split(".").pop();
  const known = /^(audio|image|video)\//.exec(file.type);
  let type = known ? known[1] : SUFFIXES.get(suffix);
  if (type === "video" && accept.includes("audio") && !accept.includes("video")) type = "audio";
  if (!type || (known && known[1] === type)) return file;
  return new File([file], file.name, { type: `${type}/${suffix}`, lastModified: file.lastModified });
};

// Returns a list of files with types; null where nothing is to be changed.
const typedList = (files, accept) => {
  const found = [...files].map((file) => typed(file, accept));
  if (found.every((file, place) => file === files[place])) return null;
  const transfer = new DataTransfer();
  for (const file of found) transfer.items.add(file);
  return transfer;
};

// Gradio reports a file that the browser can't show as an error; the server reads it all the same.
const watchUnshown = () => {
  const fields = "#face-video, #sync-video, #live-video, #face-picture, #animate-picture";
  const noteOf = (node) => node.parentElement.querySelector(".unshown");
  document.addEventListener(
    "error",
    (event) => {
      const node = event.target;
      if (!(node instanceof HTMLVideoElement || node instanceof HTMLImageElement) || !node.closest(fields)) return;
      event.stopImmediatePropagation();
      if (!noteOf(node)) node.after(make("p", { className: "unshown", role: "status" }, "The browser cannot show this file. What the server reads of it is told below."));
    },
    true
  );
  for (const event of ["loadeddata", "load"]) document.addEventListener(event, ({ target }) => target.closest?.(fields) && noteOf(target)?.remove(), true);
};

export const watchUploads = () => {
  watchUnshown();
  document.addEventListener(
    "change",
    ({ target }) => {
      if (!(target instanceof HTMLInputElement) || target.type !== "file") return;
      const transfer = typedList(target.files, target.accept);
      if (transfer) target.files = transfer.files;
    },
    true
  );
  document.addEventListener(
    "drop",
    (event) => {
      if (!event.isTrusted || !event.dataTransfer) return;
      const area = event.target.closest(".block") || event.target;
      const input = area.querySelector("input[type=file]");
      const dataTransfer = input && typedList(event.dataTransfer.files, input.accept);
      if (!dataTransfer) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
    },
    true
  );
};
