"""The Django app `faces.mesh`."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import import_string

from events_app.types import vocabulary_register
from faces.mesh.events import MESH_EVENTS


class FaceConfig(AppConfig):
    """A face with models of its own: tasks, spaces, rules."""

    name = "faces.mesh"
    label = "mesh"
    verbose_name = "AgentMesh"
    default_auto_field = "django.db.models.BigAutoField"
    config_sections = {"routing": "faces.mesh.rules.ROUTING", "spaces": "faces.mesh.semantic.SPACES"}
    config_references = "faces.mesh.references.dangling"

    def ready(self) -> None:
        """Registers the vocabulary of its streams, and what follows runs, agents and tenants."""
        vocabulary_register(MESH_EVENTS)
        # By name, because it imports models, which exist from now on only.
        import_string("faces.mesh.registration.register")()
