"""Spans of one question on its way from the client to its last token, for a collector of OpenTelemetry."""
