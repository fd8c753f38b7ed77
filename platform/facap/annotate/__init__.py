"""Caption images with a VLM and write modification texts with an LLM, both in vLLM -> CAPTIONS, TRIPLETS."""
