"""Clips, the windows cut from them, and the loader."""
