"""Results as a page: HTML, plots, videos side by side."""
