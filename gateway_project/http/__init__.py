"""The application made from the faces: routing, Django in threads, probes, error pages and the API's document."""
