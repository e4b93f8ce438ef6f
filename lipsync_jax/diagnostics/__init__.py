"""Checks of `lipsync doctor` (installation) and `lipsync diagnose` (training of a sync expert)."""
