"""Reports of results: HTML, plots, videos side by side."""
