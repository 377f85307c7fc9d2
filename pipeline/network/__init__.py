"""How bytes come from a camera: URLs judged and resolved, HTTP, RTSP and RTP. No codec, no model."""
