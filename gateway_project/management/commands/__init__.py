"""`manage.py serve`, `worker`, `prepare`, `doctor`, `backup`, `reseal` and `runserver`."""
