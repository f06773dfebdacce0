"""How providers send webhooks, by code that shares nothing with Hookpost."""
