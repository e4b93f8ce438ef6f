"""StableSyncNet, the sync expert of LatentSync (Li et al. 2024)."""
