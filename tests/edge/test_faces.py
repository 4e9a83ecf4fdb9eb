"""The faces of this gateway, as the values that they are made of."""

from __future__ import annotations

from collections import Counter

import pytest
from django.conf import settings

from edge_app.face import Face
from gateway_project.http.faces import faces
from gateway_project.http.routing import face_templates, socket_templates
from gateway_project.openapi import document

UNDOCUMENTED = ("/v1/responses/", "/console")
"""Stored responses, of which there are none: 404 always; and pages."""

NAMED = [pytest.param(face, id=face.name) for face in faces()]


def test_every_package_of_the_list_is_a_face_and_an_app() -> None:
    assert [face.name for face in faces()[1:]] == [package.rpartition(".")[2] for package in settings.FACES]
    assert set(settings.FACES) <= set(settings.INSTALLED_APPS)


def test_no_two_faces_have_the_same_path() -> None:
    counts = Counter(
        (template, template in socket_templates(face)) for face in faces() for template in set(face_templates(face))
    )
    assert [template for template, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("face", NAMED)
def test_every_exact_path_of_a_face_is_one_of_its_templates(face: Face) -> None:
    frequent = {path for route in face.consumers for path in route.frequent}
    assert frequent <= set(face_templates(face))


@pytest.mark.parametrize("face", NAMED[1:])
def test_every_viewset_and_stream_of_a_face_is_in_the_document(face: Face) -> None:
    templates = {template for template in face_templates(face) if not template.startswith(UNDOCUMENTED)}
    assert templates <= set(document()["paths"])
