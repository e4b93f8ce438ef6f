"""The page of `lipsync web` on a host that others reach, such as a Hugging Face Space."""

import os

from lipsync_jax.cli.main import main

if __name__ == "__main__":
    # The host's own name, and the site that shows Spaces in a frame.
    os.environ.setdefault("LIPSYNC_HOSTS", os.environ.get("SPACE_HOST", ""))
    os.environ.setdefault("LIPSYNC_FRAMED_BY", "https://huggingface.co")
    line = "web --host 0.0.0.0 --without-password --max-upload 50MB --keep 1h".split()
    raise SystemExit(main([*line, "--port", os.environ.get("PORT", "7860")]))
