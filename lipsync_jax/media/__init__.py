"""Audio and video files: reading, writing and exact times. Only this package imports PyAV."""
