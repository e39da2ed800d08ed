"""SC-DD and its family, for networks trained from scratch: squeeze, recover, relabel (scdd.md)."""
