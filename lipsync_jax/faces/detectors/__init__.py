"""Face detectors, one a module; `faces.get_detector` chooses one by its name."""
