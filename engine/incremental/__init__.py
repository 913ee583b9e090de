"""Exact incremental inference for occlusion."""
