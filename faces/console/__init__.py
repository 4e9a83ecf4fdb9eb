"""The console: pages for people who watch sessions, decide what waits and run the gateway."""
