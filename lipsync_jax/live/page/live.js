"use strict";
// The page of `lipsync live`: connects by WebRTC, sends the voice, shows the face and the figures.

const byId = (id) => document.getElementById(id);
const SAMPLE_RATE = 48000;
const CHUNK = 9600; // samples of a message, 0.2 s
const NOTES = {
  microphone: "The browser asks for the microphone.",
  file: "Its sound is read here and sent as samples.",
  recording: "Played again and again.",
  samples: "After Start, the address for the program is shown below.",
};
let setup = null;
let live = null; // the running session: {connection, session, figures, samples, microphone}

function say(text, isError = false) {
  byId("status").textContent = text;
  byId("status").className = isError ? "error" : "";
}

async function request(method, address, body) {
  const response = await fetch(address, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const detail = answer.detail ?? answer.error ?? `the server answered ${response.status}`;
  throw new Error(typeof detail === "string" ? detail : detail.map((d) => d.msg).join("; "));
}

function socketAddress(path) {
  const address = new URL(path, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

const source = () => document.querySelector("input[name=source]:checked").value;

function showChoices() {
  byId("file-field").hidden = source() !== "file";
  byId("source-note").textContent = NOTES[source()];
  const face = setup.faces.find((one) => one.name === byId("face").value);
  byId("plan").textContent = face ? face.plan : "No face is prepared; start with --face.";
}

async function load() {
  setup = await request("GET", "setup");
  byId("face").replaceChildren(...setup.faces.map((face) => new Option(face.name, face.name)));
  byId("consent-text").textContent = setup.consent;
  byId("recording-choice").hidden = !setup.recording;
  byId("recording-name").textContent = setup.recording ? `(${setup.recording})` : "";
  showChoices();
}

// All candidates are in the offer, so that one request is enough.
function gathered(connection) {
  return new Promise((resolve) => {
    const check = () => connection.iceGatheringState === "complete" && resolve();
    connection.addEventListener("icegatheringstatechange", check);
    setTimeout(resolve, 2000);
    check();
  });
}

function preferH264(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const rank = (codec) => ["video/H264", "video/VP8"].indexOf(codec.mimeType) >>> 0;
  transceiver.setCodecPreferences([...codecs].sort((a, b) => rank(a) - rank(b)));
}

async function decodeFile() {
  const file = byId("file").files[0];
  if (!file) throw new Error("Choose an audio file first.");
  const context = new OfflineAudioContext(1, 1, SAMPLE_RATE);
  try {
    return await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} can't be read by this browser; choose another audio file.`);
  }
}

async function sendSamples(socket, sound) {
  socket.send(JSON.stringify({ rate: sound.sampleRate }));
  const channels = [...Array(sound.numberOfChannels).keys()].map((i) => sound.getChannelData(i));
  for (let first = 0; first < sound.length; first += CHUNK) {
    const chunk = new Int16Array(Math.min(CHUNK, sound.length - first));
    for (let i = 0; i < chunk.length; i++) {
      const mean = channels.reduce((sum, one) => sum + one[first + i], 0) / channels.length;
      chunk[i] = Math.max(-32768, Math.min(32767, Math.round(mean * 32768)));
    }
    while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount > 8 * CHUNK) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(chunk);
  }
}

async function start(mine) {
  if (!byId("consent").checked) {
    byId("consent").focus();
    throw new Error("Tick the consent first.");
  }
  const kind = source();
  const sound = kind === "file" ? await decodeFile() : null;
  if (live !== mine) return; // stopped meanwhile, as below
  const connection = new RTCPeerConnection({ iceServers: setup.ice_servers });
  mine.connection = connection;
  const stream = new MediaStream();
  connection.addEventListener("track", ({ track }) => {
    stream.addTrack(track);
    byId("video").srcObject = stream;
    byId("empty").hidden = true;
  });
  connection.addEventListener("connectionstatechange", () => {
    if (connection.connectionState === "failed" && live === mine) {
      stop("The connection failed; UDP to this address may be blocked.", true);
    }
  });
  if (kind === "microphone") {
    if (!navigator.mediaDevices) throw new Error("Browsers give a microphone to local or https pages only.");
    mine.microphone = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    }).catch((error) => { throw new Error(`No microphone: ${error.message}`); });
    if (live !== mine) return;
    connection.addTransceiver(mine.microphone.getAudioTracks()[0], { direction: "sendrecv" });
  } else {
    connection.addTransceiver("audio", { direction: "recvonly" });
  }
  preferH264(connection.addTransceiver("video", { direction: "recvonly" }));
  await connection.setLocalDescription(await connection.createOffer());
  await gathered(connection);
  if (live !== mine) return;
  const answer = await request("POST", "offer", {
    sdp: connection.localDescription.sdp,
    type: "offer",
    face: byId("face").value,
    source: kind === "file" ? "samples" : kind,
    consent: byId("consent").checked,
  });
  mine.session = answer.session;
  if (live !== mine) return;
  mine.figures = new WebSocket(socketAddress(`sessions/${mine.session}/figures`));
  mine.figures.addEventListener("message", ({ data }) => show(JSON.parse(data)));
  mine.figures.addEventListener("close", () => {
    if (live === mine) stop("The server ended the session.", true);
  });
  await connection.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
  if (live !== mine) return;
  const address = socketAddress(`sessions/${mine.session}/samples`);
  if (kind === "file") {
    mine.samples = new WebSocket(address);
    mine.samples.addEventListener("open", () => sendSamples(mine.samples, sound));
  }
  if (kind === "samples") {
    byId("source-note").textContent =
      `Send {"rate": 16000}, then 16-bit samples, to ${address}`;
  }
  byId("video").muted = !byId("listen").checked;
  await byId("video").play().catch(() => {
    byId("video").muted = true; // browsers may refuse sound without a gesture
    byId("listen").checked = false;
    return byId("video").play();
  });
  if (live === mine) byId("record").disabled = false;
}

async function stop(text = "Stopped.", isError = false) {
  const ended = live;
  live = null;
  byId("start").disabled = false;
  byId("stop").disabled = byId("record").disabled = true;
  showRecording(false);
  byId("video").srcObject = null;
  byId("empty").hidden = false;
  say(text, isError);
  if (ended) await release(ended);
}

async function release(ended) {
  ended.microphone?.getTracks().forEach((track) => track.stop());
  ended.samples?.close();
  ended.connection?.close();
  if (ended.session) {
    await request("DELETE", `sessions/${ended.session}`).catch(() => {});
  }
  ended.figures?.close();
}

async function browserFigures(connection) {
  const reports = [...(await connection.getStats()).values()];
  const inbound = (kind) => reports.find((r) => r.type === "inbound-rtp" && r.kind === kind);
  const video = inbound("video"), audio = inbound("audio");
  if (!video) return null;
  const pair = reports.find((r) => r.type === "candidate-pair" && r.nominated);
  const buffered = (r, last) => {
    const count = r.jitterBufferEmittedCount - (last?.jitterBufferEmittedCount ?? 0);
    return count ? 1000 * (r.jitterBufferDelay - (last?.jitterBufferDelay ?? 0)) / count : 0;
  };
  const decoded = video.framesDecoded - (live?.last?.framesDecoded ?? 0);
  const decoding = 1000 * (video.totalDecodeTime - (live?.last?.totalDecodeTime ?? 0));
  const fps = decoded / ((video.timestamp - (live?.last?.timestamp ?? video.timestamp)) / 1000);
  const figures = {
    delay: buffered(video, live?.last) + decoding / Math.max(decoded, 1)
      + 500 * (pair?.currentRoundTripTime ?? 0),
    fps: live?.last ? fps : NaN,
    codec: reports.find((r) => r.id === video.codecId)?.mimeType ?? "-",
    skew: video.estimatedPlayoutTimestamp && audio?.estimatedPlayoutTimestamp
      ? audio.estimatedPlayoutTimestamp - video.estimatedPlayoutTimestamp : NaN,
  };
  if (live) live.last = video;
  return figures;
}

const whole = (value) => (Number.isFinite(value) ? value.toFixed(0) : "-");

async function show(figures) {
  if (!live) return;
  if (figures.error) {
    stop(`The face stopped: ${figures.error}`, true);
    return;
  }
  const here = await browserFigures(live.connection);
  if (!live) return;
  const delay = figures.delay_ms;
  for (const part of ["voice_buffer", "look_ahead", "generation", "waiting"]) {
    byId(part).textContent = whole(delay[part]);
  }
  byId("browser").textContent = here ? whole(here.delay) : "-";
  byId("total").textContent = here ? whole(delay.total + here.delay) : "-";
  byId("fps").textContent = `${figures.sent_fps.toFixed(1)}, ${here && Number.isFinite(here.fps) ? here.fps.toFixed(1) : "-"}`;
  byId("repeated").textContent = `${figures.repeated} (${figures.repeated_percent} %)`;
  byId("skew").textContent = `${whole(figures.picture_minus_sound_ms)} ms, ${here ? whole(here.skew) : "-"} ms`;
  byId("codec").textContent = here?.codec ?? "-";
  byId("lost").textContent = `${figures.voice_dropped_ms}, ${figures.voice_missing_ms} ms`;
  const state = figures.state === "connected" ? (figures.speaking ? "Speaking." : "Listening.") : "Connecting.";
  if (!byId("status").className && byId("status").textContent !== state) say(state);
}

function showRecording(on) {
  byId("record").setAttribute("aria-pressed", String(on));
  byId("record").textContent = on ? "Stop recording" : "Record";
}

async function record() {
  const button = byId("record");
  const on = button.getAttribute("aria-pressed") !== "true";
  button.disabled = true;
  try {
    const answer = await request("POST", `sessions/${live.session}/record`, { on });
    showRecording(on);
    if (byId("status").className) say("");
    if (answer.file) {
      byId("recorded").hidden = false;
      byId("download").href = `recordings/${encodeURIComponent(answer.file)}`;
      byId("download").textContent = answer.file;
    }
  } catch (error) {
    showRecording(false); // as one that ended early
    say(error.message, true);
  } finally {
    button.disabled = !live;
  }
}

byId("settings").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("start").disabled = true;
  byId("stop").disabled = false;
  say("Connecting.");
  const mine = {};
  live = mine;
  try {
    await start(mine);
  } catch (error) {
    if (live === mine) return stop(error.message, true);
  }
  if (live !== mine) await release(mine); // what began after it was stopped
});
byId("stop").addEventListener("click", () => stop());
byId("record").addEventListener("click", record);
byId("settings").addEventListener("change", showChoices);
byId("listen").addEventListener("change", () => { byId("video").muted = !byId("listen").checked; });
addEventListener("pagehide", () => live && stop());
load().catch((error) => say(error.message, true));
