"""How late or early the audio of a video is."""
