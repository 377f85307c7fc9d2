"""Pure tensor functions without state or I/O: scores, smoothing, retention, rotary positions, summaries."""
