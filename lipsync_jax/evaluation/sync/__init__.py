"""Audio offsets of videos; positive where the audio is later than the video."""
