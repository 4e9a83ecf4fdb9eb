"""Request converters: one per client dialect into chat, one per provider wire out of chat."""
