"""Asks the devices of a network, by ONVIF, what they are and which streams they offer; stores nothing."""
