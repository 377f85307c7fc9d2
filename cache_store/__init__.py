"""Where a memory lives: hot in slots on the device, durable as checkpoints in Redis."""
