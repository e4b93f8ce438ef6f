"""The words of the page, in one place, so that another language is another file."""

from collections.abc import Sequence

from lipsync_jax.text import spell_options
from lipsync_jax.web.job_options import ANIMATE_OPTIONS, DUB_OPTIONS

SHORT_SECONDS = 10

TAB_DUB, TAB_ANIMATE, TAB_SYNC, TAB_LIVE = "Dub", "Animate", "Check sync", "Live"
VIDEO, PICTURE = "Video", "Picture"
FACE_FROM = "Face from a"
FACE_VIDEO = "Video of the face"
FACE_PICTURE = "Picture of the face"
FACE = "Video or picture of the face"  # the one of both that is shown
SPEECH = "Speech"
EXAMPLE = "Use an example: a rendered person"
ABOUT_FILES = (
    "Any common format, also one that the browser can't play. Up to 4 hours and 8192 pixels on a "
    "side."
)
WHO = "Who speaks? Choose one person"
TWO_VOICES = "Two people speak, each in their own recording"
SECOND_WHO = "Who speaks in the second recording?"
SECOND_SPEECH = "Speech of the second person"
SAME_PERSON = "Both recordings have the same person; choose two different people."
FIRST_ONLY = "The preview has the first recording only."
NOBODY = (
    "No face was found in this video. Is a face large enough? If the video lies on its side, "
    '"More options" can turn it.'
)
MODEL = "Model"
QUALITY = "Quality"
QUALITIES = {"fast": "Fast", "good": "Good", "best": "Best"}
FIRST_SECONDS = f"Only the first {SHORT_SECONDS} seconds, to try"
MORE = "More options"
LOOP = "If the speech is longer than the video"
MISSING_FACE = "Frames without a face"
SILENCE = "Pauses of the speech"
LOOPS = {
    "ping-pong": "backwards and forwards",
    "repeat": "repeat it from the start",
    "hold": "hold its last frame",
    "none": "cut the speech",
}
MISSING_FACES = {
    "keep": "keep them as they are",
    "hold": "use the last box",
    "error": "stop with an error",
}
SILENCES = {
    "model": "as the model does",
    "zero-audio": "from digital silence",
    "passthrough": "keep the original frames",
}
MIN_FACE = "Leave faces of less height unchanged, pixels"
LABEL = "Text written on every frame, such as: AI-generated lip movements"
ROTATE = "Turn the video by 90 degrees clockwise"
BOX = "Box of the face, in place of detection"
PADS = "Pixels added around the face"
FOUR_NUMBERS = "give pixels: top, bottom, left, right"
DETECT_EVERY = "Detect faces in every n-th frame"
CRF = "Compression, CRF: lower is better, 0 is lossless"
BY_QUALITY = "empty: as the quality says"
AUDIO_OFFSET = "Lips and sound"
AUDIO_OFFSETS = {
    "corrected": "aligned as in training",
    "reference": "as published Wav2Lip, sound 40 ms later",
}
AS_COMMAND = "Show as a command"
COMMAND = "The same in a terminal"
PREVIEW = "Preview one frame"
MOMENT = "Second of the result"
PREVIEW_BUTTON = "Preview this frame"
BEFORE_AFTER = "Before (left) and after (right)"
CONSENT = (
    "I have the consent of everyone shown and heard to make this video, and will say that it is "
    "synthetic."
)
CONSENT_MORE = (
    "The file's metadata always say that the video is synthetic and which model made it. "
    "Read [what is responsible use](/responsible-use)."
)
DUB, ANIMATE, MEASURE = "Dub", "Animate", "Measure"
QUEUED = "Added to the jobs."
BATCH = "Many videos at once"
BATCH_HELP = (
    "One face with many recordings, many faces with one recording, or equal numbers of both, "
    "paired in the order of their names. Quality and options are those above. A row that fails "
    "does not stop the others."
)
FACES, RECORDINGS, TABLE = "Faces", "Recordings of speech", "Table that pairs them (CSV, optional)"
TABLE_HELP = (
    "A table as of `lipsync dub --manifest`: columns face, audio, outfile, and options such as "
    "quality. Its files are found by their names among the faces and recordings above; a single "
    "face or recording is that of every row that names none."
)
ADD_BATCH = "Dub all"
ANIMATE_HELP = "A photo of a frontal face and a recording of speech become a talking face."
LIPS_ONLY = (
    "No model for animation is loaded, so the dubbing model moves the lips of the photo, and the "
    "rest stays still. To animate the whole face, train a model, for example by `lipsync train "
    "--config=vougioukas`, or convert official weights by `lipsync convert`, and start "
    "`lipsync web --animator DIR` with its folder."
)
ANIMATE_LIPS = "Move the lips"
SEED = "Seed of the motion that the speech does not determine"
PASTE_BACK = "Output the whole picture, not only the face"
SYNC_HELP = (
    "Measures by how many milliseconds the sound of a video is later or earlier than the lips. "
    "Nothing is generated; a video out of sync can be written again with its sound shifted."
)
SYNC_VIDEO = "Video with sound"
LOOPED = 'The speech is longer: the video then goes on as "More options" says.'

HEAD = """
<header>
  <h1>lipsync_jax</h1>
  <p>Dub a video, animate a picture, check sync. Files stay on the machine that runs this page.
  Scripts use the same jobs by <a href="/api">HTTP</a>.</p>
  <p class="note" id="model-status" role="status">Loading the model...</p>
</header>
"""
PANEL = """
<div id="panel">
  <p id="said" class="sr-only" role="status" aria-live="polite"></p>
  <section id="offline" class="offline" role="alert" hidden>
    The server does not answer. Jobs that run go on if it is only the connection.
  </section>
  <section aria-labelledby="result-title">
    <div class="bar"><h2 id="result-title" tabindex="-1">Result</h2></div>
    <div id="result"></div>
  </section>
  <section aria-labelledby="jobs-title">
    <div class="bar">
      <h2 id="jobs-title">Jobs</h2>
      <a id="all-results" class="button" href="/api/results.zip" download hidden>Download all</a>
    </div>
    <p id="told" role="alert" hidden></p>
    <p id="no-jobs" class="quiet">No jobs yet. They are kept here after a reload or a restart.</p>
    <ul id="job-list"></ul>
  </section>
</div>
"""
LIVE_HELP = (
    "A face that speaks while you do. First the face is prepared, and 50 frames are tried to see "
    "what this machine can hold; then choose the voice below."
)
PREPARE, PREPARING = "Prepare this face", "Loading the model."
LIVE_FRAME = (
    '<iframe src="/live/" title="Live face" style="width:100%;height:900px;border:0" '
    'allow="microphone; autoplay"></iframe>'
)
LIVE_MISSING = (
    "<p>The live face needs more packages. Stop the program, install them with "
    "<code>pip install 'lipsync_jax[live]'</code>, and start it again.</p>"
)
# Option -> the label of its field.
_FIELDS = {
    "model": MODEL, "quality": QUALITY, "face_id": WHO, "loop": LOOP,
    "on_missing_face": MISSING_FACE, "silence_mode": SILENCE, "min_face_height": MIN_FACE,
    "label": LABEL, "rotate": ROTATE, "box": BOX, "pads": PADS, "detect_every": DETECT_EVERY,
    "crf": CRF, "audio_offset": AUDIO_OFFSET, "seed": SEED, "paste_back": PASTE_BACK,
    "face": FACE, "audio": SPEECH, "video": SYNC_VIDEO, "speakers": TWO_VOICES,
}  # fmt: skip
_FIELD_SPELLING = {name: f'"{label}"' for name, label in _FIELDS.items()}
_BATCH_SPELLING = _FIELD_SPELLING | {"face": f'"{FACES}"', "audio": f'"{RECORDINGS}"'}
_SPELLING = {
    name: f"`lipsync {command} --{name.replace('_', '-')}`"
    for command, names in (("animate", ANIMATE_OPTIONS), ("dub", DUB_OPTIONS))
    for name in names
} | _FIELD_SPELLING
_NEEDS = {
    "face": "a video or picture of the face",
    "audio": "the speech",
    "second_audio": "the speech of the second person",
    "video": "a video",
    "consent": "the confirmation of consent",
    "model": "a model",
}


def need(*roles: str) -> str:
    """Says what is still missing; empty if nothing is."""
    if not roles:
        return ""
    names = [_NEEDS[role] for role in roles]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"Still needed: {listed}."


def spelled(message: str, in_batch: bool = False) -> str:
    """Spells the options in a message by the labels of their fields, see `text.spell_options`.

    Args:
        message: of an error.
        in_batch: options without a field are columns of a table, else options of a command.
    """
    return spell_options(message, _BATCH_SPELLING if in_batch else _SPELLING)


def estimate(frames: int, seconds: float | None) -> str:
    """Says how many frames a job has, and how long it takes if that is known."""
    if seconds is None:
        return f"About {frames:,} frames."
    took = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    took = "1 second" if seconds < 1.5 else took
    return f"About {frames:,} frames, {took} by the last job like this."


def person(number: int, intervals: Sequence[tuple[float, float]]) -> str:
    """Names a person by number, seconds in view and first moment."""
    seconds, first = sum(end - start for start, end in intervals), int(intervals[0][0])
    return f"Person {number}, {seconds:.1f} s, from {first // 60}:{first % 60:02}"


def chosen(number: int, second: int | None = None) -> str:
    """Says who is dubbed."""
    if second is None:
        return f"Person {number} is dubbed, the others stay as they are."
    if second == number:
        return SAME_PERSON
    return f"Person {number} speaks the first recording, person {second} the second."


def previewed(moment: float, edited: bool, nearest_face: float | None) -> str:
    """Says which frame a preview shows, and why it may be unchanged."""
    if edited:
        return f"Frame at {moment:.2f} s."
    if nearest_face is not None:
        return f"No face at {moment:.2f} s, so this frame stays. A face is at {nearest_face:.2f} s."
    return f"The frame at {moment:.2f} s stays as it is: no face near it, or a pause of the speech."


def batch_rows(errors: Sequence[str]) -> str:
    """Says how many rows a batch has, and what is wrong with them.

    Args:
        errors: of each row; empty where it has none.
    """
    wrong = [
        f"Row {number}: {spelled(text, in_batch=True)}"
        for number, text in enumerate(errors, 1)
        if text
    ]
    shown = wrong[:5] + ([f"and {len(wrong) - 5} more rows"] if len(wrong) > 5 else [])
    count = f", {len(wrong)} with an error." if wrong else "."
    return "\n\n".join([_rows(len(errors)) + count, *shown])


def batch_added(count: int, refused: int) -> str:
    """Says how many rows a batch has, and how many of them were refused."""
    told = f"; {refused} refused, see the table of the batch" if refused else ""
    return f"Added {_rows(count)}{told}."


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
