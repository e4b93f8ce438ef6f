"""Wav2Lip (Prajwal et al. 2020): sync expert, generator, quality discriminator."""
