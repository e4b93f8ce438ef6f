"""Clips, the audio and video windows of training examples, and the data loader."""
