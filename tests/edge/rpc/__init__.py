"""Tests of the RPC dispatcher."""
