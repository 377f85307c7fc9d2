"""How bytes come from a camera, without codecs or models: URLs judged and resolved, HTTP, RTSP and RTP."""
