"""Pure tensor functions of the memory: scores, smoothing, keeping, rotating, folding. No state, no I/O."""
