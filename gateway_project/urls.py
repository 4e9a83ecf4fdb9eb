"""Django's URLs, face by face.

Streams, sockets and relayed calls do not come this far: `gateway_project.http.routing` takes them before Django.
"""

from __future__ import annotations

from gateway_project.http.faces import faces

urlpatterns = [pattern for face in faces() for pattern in face.urls]

handler400 = "gateway_project.http.error_pages.bad_request"
handler403 = "gateway_project.http.error_pages.forbidden"
handler404 = "gateway_project.http.error_pages.not_found"
handler500 = "gateway_project.http.error_pages.server_error"
