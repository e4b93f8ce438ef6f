"""The loop, its checkpoints, its log; no paper is named here."""
