"""People's sign-in with an OpenID Connect provider. Loaded only where GATEWAY_OIDC_ISSUER is set."""
