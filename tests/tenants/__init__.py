"""Tests of `tenants_app`."""
