"""One camera from URL to memory, one question from text to tokens, without Ray and gRPC."""
