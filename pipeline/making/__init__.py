"""What the bodies of several stages share: manifests, reject limits, finished batches, reading pictures."""
