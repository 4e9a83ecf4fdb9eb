"""Django REST framework for all faces: base viewset, router, JSON, errors, fields and paging."""
