"""Which process owns a camera: leases held, failures detected, a leader elected."""
