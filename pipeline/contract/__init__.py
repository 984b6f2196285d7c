"""The data contract: tables and columns, shards, manifests, pictures, randomness."""
