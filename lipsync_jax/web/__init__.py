"""`lipsync web`: a page and an HTTP interface for dubbing, animation and sync on this machine."""
