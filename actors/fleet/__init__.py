"""The desired and the observed state of all cameras and shards, and the loop that reconciles them."""
