"""Face detectors, one a module; `faces.get_detector` returns one by its name."""
