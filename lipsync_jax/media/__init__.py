"""Audio and video files: reading, writing and their exact clock; only here is PyAV imported."""
