"""People sign in with a provider process: roles by claims, what is refused, and what ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.oidc.conftest import CLIENT_ID, Browser, Deployed, query_of


def second(gateway: Deployed) -> Browser:
    return Browser(gateway)


def test_a_person_of_a_group_signs_in_and_uses_the_api(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff", "others"])
    done = browser.sign_in("ann-1", next="/console/inbox")
    assert (done.status_code, done.headers["location"]) == (302, "/console/inbox")
    assert browser.api().status_code == 200
    assert browser.api("/v1/usage").status_code == 200
    assert browser.api("/v1/webhooks").status_code == 403
    assert gateway.roles("ann") == {"acme": "viewer"}
    cookie = next(one for one in browser.http.cookies.jar if one.name == "gateway_session")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Lax"


def test_state_nonce_and_challenge_go_to_the_provider_and_the_verifier_with_the_code(
    browser: Browser, gateway: Deployed
) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    asked = query_of(browser.start().headers["location"])
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    browser.sign_in("ann-1")
    token = next(form for path, form in gateway.front.requests if path == "/oauth2/token")
    assert len(token["code_verifier"][0]) >= 43


def test_the_highest_role_of_several_groups_counts_and_tenants_are_separate(
    browser: Browser, gateway: Deployed
) -> None:
    gateway.front.person("bob-1", preferred_username="bob", groups=["acme-ops", "acme-staff", "/rival/admins", "lost"])
    assert browser.sign_in("bob-1").status_code == 302
    assert gateway.roles("bob") == {"acme": "operator", "rival": "admin"}


def test_signing_out_ends_the_session(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    browser.sign_in("ann-1")
    cookies = dict(browser.http.cookies)
    token = browser.http.get("/console/tenant").text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    answer = browser.http.post(
        "/console/sign-out", data={"csrfmiddlewaretoken": token}, headers={"Origin": gateway.url}
    )
    assert answer.status_code == 302
    stolen = second(gateway)
    stolen.http.cookies.update(cookies)
    assert stolen.api().status_code == 401


@pytest.mark.parametrize("claims", [{}, {"groups": []}, {"groups": "strangers"}, {"groups": ["lost"]}, {"groups": 7}])
def test_somebody_without_a_tenant_is_told_whom_to_ask_and_is_not_made(
    browser: Browser, gateway: Deployed, claims: dict[str, Any]
) -> None:
    gateway.front.person("carl-1", preferred_username="carl", **claims)
    done = browser.sign_in("carl-1")
    assert done.status_code == 403
    assert "You have no tenant here yet" in done.text
    assert "Ask Olga, extension 42." in done.text
    assert browser.api().status_code == 401
    assert '"carl"' not in gateway.command("user", "list", "--json")


def test_a_group_that_was_removed_takes_its_role_at_the_next_sign_in(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("dora-1", preferred_username="dora", groups=["acme-ops", "/rival/admins"])
    browser.sign_in("dora-1")
    gateway.front.person("dora-1", preferred_username="dora", groups=["/rival/admins"])
    again = second(gateway)
    assert again.sign_in("dora-1").status_code == 302
    assert gateway.roles("dora") == {"rival": "admin"}
    # What was open with the role before is over too, or goes on in the tenant that is left.
    assert browser.http.get("/v1/sessions", headers={"X-Gateway-Tenant": "acme"}).status_code == 409
    gateway.front.person("dora-1", preferred_username="dora", groups=[])
    assert second(gateway).sign_in("dora-1").status_code == 403
    assert (again.api().status_code, browser.api().status_code) == (401, 401)


def test_nobody_takes_over_an_account_by_its_name_or_address(browser: Browser, gateway: Deployed) -> None:
    gateway.command("user", "add", "chief", "--superuser", "--generate")
    gateway.front.person("thief-1", preferred_username="chief", email="chief@example.com", groups=["acme-staff"])
    assert browser.sign_in("thief-1").status_code == 302
    assert browser.api("/model-gateway/stats").status_code == 403
    assert gateway.roles("chief") == {}
    gateway.front.person("thief-2", preferred_username="ann", email="ann@example.com", groups=["acme-ops"])
    before = gateway.roles("ann")
    second(gateway).sign_in("thief-2")
    assert gateway.roles("ann") == before


def test_a_disabled_person_stays_out(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("eve-1", preferred_username="eve", groups=["acme-staff"])
    browser.sign_in("eve-1")
    gateway.command("user", "disable", "eve")
    assert browser.api().status_code == 401
    assert second(gateway).sign_in("eve-1").status_code == 403


def test_a_state_is_good_once_and_in_its_own_browser(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    address = browser.consent(browser.start().headers["location"], "ann-1")
    stranger = second(gateway)
    assert stranger.http.get(address).status_code == 403
    assert stranger.api().status_code == 401
    assert browser.http.get(address).status_code == 302
    assert browser.http.get(address).status_code == 403
    asked = query_of(address)
    for state in ("", "made-up"):
        changed = urlencode({**asked, "state": state})
        assert second(gateway).http.get(f"/console/oidc/callback?{changed}").status_code == 403


def test_a_code_is_good_once(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    used = query_of(browser.consent(browser.start().headers["location"], "ann-1"))
    assert browser.http.get(f"/console/oidc/callback?{urlencode(used)}").status_code == 302
    fresh = second(gateway)
    state = query_of(fresh.start().headers["location"])["state"]
    answer = fresh.http.get(f"/console/oidc/callback?{urlencode({'code': used['code'], 'state': state})}")
    assert answer.status_code == 403
    assert fresh.api().status_code == 401


def test_an_id_token_of_another_sign_in_is_refused(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    kept: list[dict[str, Any]] = []
    gateway.front.forge(lambda claims: kept.append(claims) or claims)  # type: ignore[func-returns-value]
    assert browser.sign_in("ann-1").status_code == 302
    gateway.front.forge(lambda claims: kept[0])
    victim = second(gateway)
    assert victim.sign_in("ann-1").status_code == 403
    assert victim.api().status_code == 401


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {name: value for name, value in claims.items() if name not in names}


def with_(**more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {**claims, **more}


def shifted(seconds: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The claims of a provider whose clock is ahead (or behind)."""
    return lambda claims: {**claims, "iat": int(time.time() + seconds), "exp": int(time.time() + seconds + 300)}


@pytest.mark.parametrize(
    "change",
    [
        with_(iss="http://127.0.0.1:1"),
        with_(aud="another-client"),
        with_(aud=[CLIENT_ID, "other"], azp="other"),
        with_(nonce="made-up"),
        without("nonce"),
        without("exp"),
        without("sub"),
        with_(sub="somebody-else"),
        shifted(600),
        shifted(-600),
    ],
    ids=["iss", "aud", "azp", "nonce", "no-nonce", "no-exp", "no-sub", "sub", "ahead", "expired"],
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    browser: Browser, gateway: Deployed, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    gateway.front.forge(change)
    assert browser.sign_in("ann-1").status_code == 403
    assert browser.api().status_code == 401


@pytest.mark.parametrize("seconds", [30, -330])
def test_clocks_may_differ_by_less_than_a_minute(browser: Browser, gateway: Deployed, seconds: float) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    gateway.front.forge(shifted(seconds))
    assert browser.sign_in("ann-1").status_code == 302


def test_an_id_token_that_the_provider_did_not_sign_is_refused(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    gateway.front.forge(lambda claims: claims, known=False)
    assert browser.sign_in("ann-1").status_code == 403


def test_a_provider_that_is_not_the_one_of_the_settings_gets_nobody(browser: Browser, gateway: Deployed) -> None:
    gateway.front.alter["/.well-known/openid-configuration"] = with_(issuer="https://elsewhere.test")
    begun = browser.start()
    assert (begun.status_code, "discovery names another issuer" in begun.text) == (403, True)


def test_an_answer_of_the_provider_that_is_an_error_is_a_page(browser: Browser, gateway: Deployed) -> None:
    state = query_of(browser.start().headers["location"])["state"]
    answer = browser.http.get(f"/console/oidc/callback?{urlencode({'error': 'access_denied', 'state': state})}")
    assert (answer.status_code, "You are not signed in" in answer.text) == (403, True)


def test_a_sign_in_leads_to_the_gateways_own_pages_only(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("ann-1", preferred_username="ann", groups=["acme-staff"])
    for address in ("//evil.test/", "https://evil.test/", "javascript:alert(1)"):
        assert second(gateway).sign_in("ann-1", next=address).headers["location"] == "/console/"


def test_the_admin_takes_the_same_people(browser: Browser, gateway: Deployed) -> None:
    gateway.front.person("bob-1", preferred_username="bob", groups=["acme-ops", "/rival/admins"])
    assert "Single sign-on" in browser.http.get("/admin/login/").text
    assert browser.sign_in("bob-1", next="/admin/").headers["location"] == "/admin/"
    assert browser.http.get("/admin/").status_code == 200


def test_starting_needs_the_pages_token(browser: Browser, gateway: Deployed) -> None:
    browser.http.get("/console/sign-in")
    assert browser.http.post("/console/oidc/start", headers={"Origin": gateway.url}).status_code == 403
    assert browser.http.get("/console/oidc/start").status_code == 405
