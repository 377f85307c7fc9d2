"""From a camera's URL to sampled clips: files, network streams and simulated scenes behind one seam."""
