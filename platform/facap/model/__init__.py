"""FashionBLIP-2: BLIP-2 with adapters and multi-head query-candidate matching."""
