"""The viewsets of the native REST face: each validates a body, calls a service and renders what it returns."""
