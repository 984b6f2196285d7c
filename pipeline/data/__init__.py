"""The data contract: tables and columns, keys, shards, manifests, pictures, file names, and randomness."""
