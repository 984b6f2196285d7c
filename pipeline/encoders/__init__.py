"""Pictures to latents and captions to embeddings, by models loaded strictly; how both are stored and scaled."""
