"""Pictures made of others: CutMix by pattern, crops, and which pictures are pasted together."""
