"""Webhooks: deliveries are written with their event, claimed by senders, and attempted until delivered or dead."""
