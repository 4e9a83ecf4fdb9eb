"""The attacks that held when the gateway was attacked, in groups, and the tests that repeat each.

A group that is not here anymore is a promise that nobody checks: `test_attacks.py` looks for every test that is named.
What was mended has tests beside the code that was mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GROUPS: Mapping[str, Sequence[str]] = {
    # Who gets in
    "every route without a key, eleven methods": [
        "tests/security/test_routes.py::test_no_method_of_a_route_answers_without_a_key"
    ],
    "headers in place of a key": ["tests/security/test_routes.py::test_no_header_stands_for_a_key"],
    "tokens of embedded chats": [
        "tests/security/test_routes.py::test_no_path_of_an_embedded_chat_answers_without_its_token"
    ],
    "spellings of paths": [
        "tests/security/test_routes.py::test_no_spelling_of_a_path_goes_past_the_key",
        "tests/edge/test_gate.py::test_what_only_begins_like_an_open_path_is_not_open",
    ],
    "keys in queries and cookies": [
        "tests/security/test_routes.py::test_a_key_in_the_query_or_a_cookie_is_none",
        "tests/edge/test_gate.py::test_a_key_in_the_query_opens_sockets_only",
    ],
    "keys that are none": ["tests/tenants/test_keys.py::test_what_is_no_key_is_refused"],
    "keys of every other scope": ["tests/security/test_routes.py::test_a_key_of_every_other_scope_is_forbidden"],
    "deciding without the scope for it": [
        "tests/security/test_routes.py::test_a_test_of_a_tool_is_no_way_past_an_approval",
        "tests/faces/native/test_waiting.py::test_deciding_needs_the_scope_where_the_tenant_says_so",
    ],
    "revoked keys": [
        "tests/tenants/test_keys.py::test_a_key_revoked_here_is_refused_at_once",
        "tests/tenants/test_keys.py::test_a_key_revoked_by_another_process_is_refused_after_the_cache_time",
        "tests/edge/test_gate_django.py::test_a_revoked_key_does_not_pass_again",
        "tests/faces/native/test_closing.py::test_a_revoked_key_acts_no_more",
        "tests/faces/native/test_stream_tokens.py::test_a_token_ends_with_the_key_that_asked_for_it",
    ],
    "expired keys": ["tests/tenants/test_keys.py::test_an_expired_key_is_refused"],
    "keys of a disabled tenant, and its people": [
        "tests/admin/test_pages.py::test_a_disabled_tenants_people_are_out_at_once"
    ],
    # Other tenants
    "another tenant's ids, against unknown ones": [
        "tests/security/test_routes.py::test_another_tenants_ids_are_answered_like_unknown_ones",
        "tests/sessions/test_access.py::test_a_stranger_is_answered_as_if_the_session_did_not_exist",
        "tests/webhooks/test_endpoints.py::test_others_cannot_reach_a_webhook",
        "tests/responses/threads/test_threads.py::test_unknown_and_foreign_answers_are_alike",
    ],
    "foreign ids in a session of one's own": [
        "tests/security/test_routes.py::test_a_foreign_id_inside_what_is_ones_own_is_unknown",
        "tests/faces/native/test_waiting.py::test_a_stranger_settles_nothing",
    ],
    "lists, usage and idempotency of another tenant": [
        "tests/sessions/test_access.py::test_a_stranger_sees_nothing_in_lists",
        "tests/tenants/test_idempotency.py::test_a_tenant_has_so_many_stored_responses_and_keeps_those_it_has",
    ],
    "sockets of another tenant": [
        "tests/faces/native/test_protocol.py::test_an_upgrade_is_refused_as_an_http_answer",
        "tests/responses/socket/test_socket.py::test_another_tenants_responses_are_unknown_on_a_socket",
    ],
    "sockets with many streams, large frames and slow readers": [
        "tests/responses/socket/test_socket.py::test_lanes_and_waiting_requests_have_a_limit",
        "tests/responses/socket/test_socket.py::test_a_frame_that_is_too_large_closes_the_socket",
        "tests/responses/socket/test_socket.py::test_a_client_that_reads_nothing_is_cut_off",
        "tests/responses/socket/test_socket.py::test_a_revoked_key_ends_the_socket_and_what_it_asked_for",
    ],
    "stream tokens elsewhere, and for writing": [
        "tests/faces/native/test_stream_tokens.py::test_a_token_opens_nothing_but_its_sessions_stream",
        "tests/faces/native/test_stream_tokens.py::test_a_socket_with_a_token_may_ping_and_nothing_else",
        "tests/faces/native/test_stream_tokens.py::test_a_token_that_is_none_is_refused",
        "tests/events/test_tokens.py::test_a_token_of_a_group_reads_its_stream_and_no_other",
    ],
    "models that a tenant may not use": [
        "tests/security/test_models.py::test_no_spelling_leads_to_a_provider_that_is_not_allowed",
        "tests/inference/test_resolution.py::test_a_substitute_has_to_be_allowed_by_a_name_of_its_own",
    ],
    "runs and calls that one tenant fills the gateway with": [
        "tests/core/test_guarded_client.py::test_one_tenants_silent_name_servers_hold_up_nobody_elses_names",
        "tests/edge/test_gate.py::test_django_requests_at_once_are_bounded_and_streams_are_not",
    ],
    # The admin
    "staff of one tenant at the rows of another": [
        "tests/security/test_admin.py::test_no_row_of_another_tenant_is_seen_or_changed",
        "tests/admin/test_pages.py::test_another_tenants_rows_do_not_exist",
    ],
    "scopes in the admin": ["tests/admin/test_pages.py::test_scopes_say_what_a_tenants_person_sees"],
    "filters on secrets": [
        "tests/admin/test_filters.py::test_a_secret_is_not_told_letter_by_letter",
        "tests/admin/test_filters.py::test_no_column_but_those_of_its_filters_filters_a_list",
    ],
    "forms that requests share": [
        "tests/admin/test_shared_state.py::test_nothing_that_a_request_does_stays_in_a_class"
    ],
    "markup in what clients write": [
        "tests/admin/test_pages.py::test_what_clients_wrote_is_never_markup",
        "tests/security/test_admin.py::test_what_clients_wrote_is_no_markup_on_the_pages_of_decisions",
        "tests/admin/test_page_headers.py::test_an_admin_page_runs_the_gateways_own_scripts_alone",
    ],
    "forms of other sites": [
        "tests/security/test_admin.py::test_a_form_without_its_token_changes_nothing",
        "tests/security/test_admin.py::test_a_form_from_another_origin_is_refused",
    ],
    "links that sign out, frames, and sign-ins that lead away": [
        "tests/security/test_admin.py::test_a_link_signs_nobody_out_and_no_page_is_framed_or_kept",
        "tests/security/test_admin.py::test_a_sign_in_leads_nowhere_else",
    ],
    "guessing passwords": [
        "tests/tenants/test_sign_in.py::test_an_address_may_guess_so_often_and_then_waits",
        "tests/tenants/test_sign_in.py::test_a_name_is_guessed_so_often_from_wherever",
        "tests/tenants/test_sign_in.py::test_a_mark_that_is_not_the_gateways_is_none",
    ],
    # What proxies and browsers claim
    "forwarded headers that nobody trusts": [
        "tests/security/test_routes.py::test_no_header_stands_for_a_key",
        "tests/deploy/test_proxy.py::test_the_gateway_is_told_who_came_and_how_and_not_what_he_claims",
    ],
    "hosts": ["tests/edge/test_gate.py::test_a_host_that_is_not_allowed_is_refused_on_every_path"],
    "origins": [
        "tests/edge/test_gate.py::test_another_origin_is_told_nothing",
        "tests/edge/test_gate.py::test_options_that_are_no_preflight_need_a_key",
    ],
    "requests that two servers read differently": [
        "tests/security/test_smuggling.py::test_what_can_be_read_in_two_ways_gets_no_second_answer",
        "tests/security/test_smuggling.py::test_no_key_of_one_request_counts_for_what_is_behind_it",
    ],
    # Addresses that tenants name
    "private and odd addresses as callbacks": [
        "tests/security/test_addresses.py::test_no_address_inside_becomes_a_callback"
    ],
    "the same as webhooks": ["tests/security/test_addresses.py::test_no_address_inside_becomes_a_webhook"],
    "the same for fetch_url": ["tests/security/test_addresses.py::test_no_page_inside_is_fetched"],
    "the same as attachments": ["tests/security/test_addresses.py::test_no_attachment_inside_is_read"],
    "names that lead inside, or change": [
        "tests/core/test_guarded_client.py::test_a_name_that_leads_inside_is_refused_before_any_connection",
        "tests/core/test_guarded_client.py::test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked",
        "tests/core/test_guarded_client.py::test_a_name_that_leads_inside_is_told_from_an_unknown_one_by_nothing",
    ],
    "redirects": [
        "tests/core/test_guarded_client.py::test_redirects_are_answers_and_not_followed",
        "tests/tools/test_fetch_url.py::test_a_redirect_is_checked_like_the_first_address",
    ],
    "endless, slow and compressed answers": [
        "tests/core/test_guarded_client.py::test_an_endless_answer_is_given_up_at_the_bound",
        "tests/core/test_guarded_client.py::test_a_slow_answer_is_given_up_in_time",
        "tests/core/test_guarded_client.py::test_a_compressed_answer_cannot_be_read_and_of_a_failure_the_status_is_all",
    ],
    # Odd input
    "odd bodies": [
        "tests/security/test_bodies.py::test_an_odd_body_is_the_clients_error",
        "tests/security/test_bodies.py::test_an_odd_media_type_is_the_clients_error",
        "tests/api/test_fuzz.py::test_no_request_is_answered_outside_the_document",
    ],
    "odd queries and ids": [
        "tests/security/test_bodies.py::test_an_odd_query_is_the_clients_error",
        "tests/security/test_bodies.py::test_an_odd_id_is_the_clients_error",
    ],
    "bodies over the limit, and lengths that lie": [
        "tests/edge/test_gate.py::test_a_chunked_body_over_the_limit_is_413_at_the_first_byte_too_many",
        "tests/edge/test_gate.py::test_a_length_that_lies_does_not_help",
    ],
    "slow senders": ["tests/edge/test_gate.py::test_a_slow_sender_holds_no_thread"],
    "schemas and patterns that take for ever": [
        "tests/tools/test_schema.py::test_a_schema_that_is_wrong_or_a_bomb_is_refused_at_once"
    ],
    "objects in YAML": ["tests/security/test_texts.py::test_a_configuration_file_makes_no_objects"],
    # What leaves
    "secrets in the log": [
        "tests/api/test_secrets.py::test_no_secret_is_logged",
        "tests/project/test_logs.py::test_a_secret_inside_a_text_is_replaced",
    ],
    "secrets in export, metrics and audit trail": [
        "tests/security/test_texts.py::test_no_secret_is_in_the_export_the_metrics_or_the_audit_trail",
        "tests/webhooks/test_endpoints.py::test_what_is_done_to_webhooks_is_audited_without_secrets",
    ],
    "forged lines of the log": [
        "tests/security/test_texts.py::test_a_path_and_a_header_forge_no_line",
        "tests/project/test_logs.py::test_nothing_in_a_line_commands_the_terminal_that_shows_it",
    ],
    "forged events": ["tests/security/test_texts.py::test_what_is_said_forges_no_event"],
    "exceptions that tell something": [
        "tests/tenants/test_rest.py::test_an_unknown_exception_is_logged_under_an_id_and_never_shown"
    ],
    "files that others may read": [
        "tests/project/test_checks.py::test_what_a_command_creates_is_its_users_own",
        "tests/stack/test_backup.py::test_a_backup_never_writes_over_something",
        "tests/deploy/test_compose.py::test_secrets_are_made_once_and_readable_for_owner_and_group_only",
    ],
}
