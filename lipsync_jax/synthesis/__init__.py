"""Video and speech in, video out."""
