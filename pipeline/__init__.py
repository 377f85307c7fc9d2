"""One camera from URL to memory, one question from text to tokens; the device's work loop. No Ray, no gRPC."""
