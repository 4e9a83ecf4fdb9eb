"""The command `gateway user list|add|role|password|disable|enable`: people who sign in to admin and console."""

from __future__ import annotations

import secrets
import sys
from getpass import getpass
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core_app.command import GatewayCommand
from core_app.suggestion import suggestion
from tenants_app.command_options import ACTOR, tenant_named, write_list
from tenants_app.models import Tenant, User
from tenants_app.roles import ROLES
from tenants_app.services.membership import role_give, role_take
from tenants_app.services.user import user_create, user_enable, user_password_set

NONE = "none"
GENERATED = "generate one and print it"


class Command(GatewayCommand):
    """Creates, changes and lists people."""

    help = "Lists and adds people, gives and takes roles, sets passwords, disables and enables people."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="show the people").add_argument("--json", action="store_true")
        add = actions.add_parser("add", help="add a person: user add alice --tenant acme --staff --scopes approvals")
        add.add_argument("username")
        add.add_argument("--tenant", default=None, help="whose rows the person sees; none for operators")
        add.add_argument("--role", default=None, choices=list(ROLES), help="the role in --tenant")
        add.add_argument("--scopes", default="", help="separated by commas")
        add.add_argument("--superuser", action="store_true", help="runs the gateway and sees every tenant")
        add.add_argument("--staff", action="store_true", help="may sign in to the admin")
        add.add_argument("--generate", action="store_true", help=f"the password: {GENERATED}")
        role = actions.add_parser("role", help="give a role: user role alice acme operator; or take it: none")
        role.add_argument("username")
        role.add_argument("tenant")
        role.add_argument("role", choices=[*ROLES, NONE])
        password = actions.add_parser("password", help="set a password")
        password.add_argument("username")
        password.add_argument("--generate", action="store_true", help=GENERATED)
        for name, text in (("disable", "keep the person from signing in"), ("enable", "let them in again")):
            actions.add_parser(name, help=text).add_argument("username")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "list":
            self._list(options["json"])
        elif action == "add":
            self._add(options)
        elif action == "role":
            self._role(_named(options["username"]), tenant_named(options["tenant"]), options["role"])
        elif action == "password":
            user = _named(options["username"])
            user_password_set(user=user, password=self._password(options["generate"]), actor=ACTOR)
            self.stderr.write(f"The password of {user.username} is changed.")
        else:
            user = user_enable(user=_named(options["username"]), enabled=action == "enable", actor=ACTOR)
            self.stderr.write(f"{user.username} {'can' if user.is_active else 'cannot'} sign in.")

    def _list(self, as_json: bool) -> None:
        rows = [
            {
                "username": user.username,
                "tenant": user.tenant.slug if user.tenant else None,
                "role": "superuser" if user.is_superuser else "staff" if user.is_staff else "console",
                "state": "active" if user.is_active else "disabled",
                "roles": {one.tenant.slug: one.role for one in user.memberships.all()},
                "scopes": user.scopes,
            }
            for user in User.objects.select_related("tenant")
            .prefetch_related("memberships__tenant")
            .order_by("username")
        ]
        write_list(self, rows, as_json=as_json)

    def _role(self, user: User, tenant: Tenant, role: str) -> None:
        if role != NONE:
            role_give(user=user, tenant=tenant, role=role, actor=ACTOR)
            self.stderr.write(f"{user.username} is {role} in {tenant.slug}.")
            return
        given = list(user.memberships.filter(tenant=tenant))
        if not given:
            raise CommandError(f"{user.username} has no role in {tenant.slug}.")
        for membership in given:
            role_take(membership=membership, actor=ACTOR)
        self.stderr.write(f"{user.username} has no role in {tenant.slug} any more.")

    def _add(self, options: dict[str, Any]) -> None:
        if options["role"] and not options["tenant"]:
            raise CommandError("--role is a role in a tenant: add --tenant.")
        user = user_create(
            username=options["username"],
            password=self._password(options["generate"]),
            tenant=tenant_named(options["tenant"]) if options["tenant"] else None,
            scopes=[scope.strip() for scope in options["scopes"].split(",") if scope.strip()],
            superuser=options["superuser"],
            staff=options["staff"],
            actor=ACTOR,
        )
        if options["role"] and user.tenant is not None:
            role_give(user=user, tenant=user.tenant, role=options["role"], actor=ACTOR)
        self.stderr.write(f"{user.username} can sign in.")

    def _password(self, generate: bool) -> str:
        """Returns a password: a new one, which is the only text on standard output, or from the terminal, or a line of
        standard input."""
        if generate:
            password = secrets.token_urlsafe(15)
            self.stdout.write(password)
            return password
        typed = getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        if not typed:
            raise CommandError("There is no password: type one, pipe one in as a line, or add --generate.")
        return typed


def _named(username: str) -> User:
    user = User.objects.filter(username=username).first()
    if user is None:
        near = suggestion(username, User.objects.values_list("username", flat=True)[:1000])
        raise CommandError(f"There is no user '{username}'.{near}")
    return user
