"""Fine-tune FashionBLIP-2 on TRIPLETS with Ray Train and FSDP."""
