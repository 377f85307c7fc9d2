"""Which process owns a camera: shards hold leases, failed shards are detected, and one fleet is elected leader."""
