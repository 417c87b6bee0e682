"""Tests of the workspace, as an application would have them."""
