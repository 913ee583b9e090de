"""Proof that a fixed batch size may become a dynamic one."""
