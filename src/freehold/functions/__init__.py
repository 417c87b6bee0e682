"""Typed functions: queries, which read, and commands, which write.

Read `declaration` first (what a function is), then `pipeline` (what happens when one is called).
"""
