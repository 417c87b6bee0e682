"""Tests of the CRM, as an application would have them."""
