"""Whether the GPU of a machine can carry a shard: each part is compared with what the CPU gives, and timed."""
