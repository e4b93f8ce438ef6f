"""A live face: frames of a speaking face while the speech arrives, with the delayed speech.

`voice` and `pipeline` need no network, `session` sends by WebRTC (aiortc), `server` is the web app.
"""
