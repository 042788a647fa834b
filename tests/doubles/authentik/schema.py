"""Authentik double: what each resource is made of, written down from the published client crate
`authentik-client` 2026.8.5 (its models are generated from Authentik's OpenAPI description).

A field is (kind, options). Kinds: str, int, bool, uuid, uuids, ints, object, uris, or a tuple of choices. Options:
required; null (may be null); default; read (made by the server: refused in a request); unique; refers (resource).
"""

FLOWS, CERTIFICATES, SCOPES = "flows/instances", "crypto/certificatekeypairs", "propertymappings/provider/scope"
PROVIDERS, APPLICATIONS = "providers/oauth2", "core/applications"
BINDINGS, GROUPS = "policies/bindings", "core/groups"

MODE = ("all", "any")
GRANTS = ("authorization_code", "implicit", "hybrid", "refresh_token", "client_credentials", "password",
          "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange")
SUBJECTS = ("hashed_user_id", "user_id", "user_uuid", "user_username", "user_email", "user_upn")


def field(kind, **options):
    return kind, options


def made(kind):
    """A field of answers only."""
    return kind, {"read": True, "null": True}


URI = {
    "matching_mode": field(("strict", "regex"), required=True),
    "url": field("str", required=True),
    "redirect_uri_type": field(("authorization", "logout"), default="authorization"),
}

RESOURCES = {
    PROVIDERS: {
        "pk": made("int"),
        "name": field("str", required=True, unique=True),
        "authentication_flow": field("uuid", null=True, refers=FLOWS),
        "authorization_flow": field("uuid", required=True, refers=FLOWS),
        "invalidation_flow": field("uuid", required=True, refers=FLOWS),
        "property_mappings": field("uuids", default=[], refers=SCOPES),
        "client_type": field(("confidential", "public"), default="confidential"),
        # Empty unless it is sent: a provider made without them lets nobody in.
        "grant_types": field(("list", GRANTS), default=[]),
        "client_id": field("str", unique=True, longest=255),
        "client_secret": field("str", longest=255),
        "access_code_validity": field("str", default="minutes=1"),
        "access_token_validity": field("str", default="minutes=5"),
        "refresh_token_validity": field("str", default="days=30"),
        "refresh_token_threshold": field("str", default="hours=1"),
        "include_claims_in_id_token": field("bool", default=True),
        "signing_key": field("uuid", null=True, refers=CERTIFICATES),
        "encryption_key": field("uuid", null=True, refers=CERTIFICATES),
        "redirect_uris": field("uris", required=True),
        "logout_uri": field("str", default=""),
        "logout_method": field(("backchannel", "frontchannel"), default="backchannel"),
        "sub_mode": field(SUBJECTS, default="hashed_user_id"),
        "issuer_mode": field(("global", "per_provider"), default="per_provider"),
        "jwt_federation_sources": field("uuids", default=[]),
        "jwt_federation_providers": field("ints", default=[]),
    },
    APPLICATIONS: {
        "pk": made("uuid"),
        "name": field("str", required=True),
        "slug": field("slug", required=True, unique=True),
        "provider": field("int", null=True, unique=True, refers=PROVIDERS),
        "backchannel_providers": field("ints", default=[]),
        "open_in_new_tab": field("bool", default=False),
        "meta_launch_url": field("str", default=""),
        "meta_icon": field("str", default=""),
        "meta_description": field("str", default=""),
        "meta_publisher": field("str", default=""),
        "policy_engine_mode": field(MODE, default="any"),
        "group": field("str", default=""),
        "meta_hide": field("bool", default=False),
    },
    BINDINGS: {
        "pk": made("uuid"),
        "policy": field("uuid", null=True),
        "group": field("uuid", null=True, refers=GROUPS),
        "user": field("int", null=True),
        "target": field("uuid", required=True, refers=APPLICATIONS),
        "negate": field("bool", default=False),
        "enabled": field("bool", default=True),
        "order": field("int", required=True),
        "timeout": field("int", default=30),
        "failure_result": field("bool", default=False),
    },
    GROUPS: {
        "pk": made("uuid"),
        "name": field("str", required=True, unique=True),
        "is_superuser": field("bool", default=False),
        "parents": field("uuids", default=[], refers=GROUPS),
        "users": field("ints", default=[]),
        "attributes": field("object", default={}),
        "roles": field("uuids", default=[]),
    },
    SCOPES: {
        "pk": made("uuid"),
        "managed": field("str", null=True, unique=True),
        "name": field("str", required=True, unique=True),
        "expression": field("str", required=True),
        "scope_name": field("str", required=True),
        "description": field("str", default=""),
    },
    FLOWS: {"pk": made("uuid"), "name": field("str", required=True), "slug": field("slug", required=True),
            "title": field("str", required=True), "designation": field("str", required=True)},
    CERTIFICATES: {"pk": made("uuid"), "name": field("str", required=True), "managed": field("str", null=True)},
}

# What may be asked of a list; a filter that is not here is a mistake.
PAGING = {"ordering", "page", "page_size", "search"}
FILTERS = {
    PROVIDERS: {"client_id", "client_type", "name", "issuer_mode", "sub_mode", "authorization_flow", "signing_key",
                "application"},
    APPLICATIONS: {"name", "slug", "group", "meta_launch_url", "meta_publisher", "superuser_full_list",
                   "only_with_launch_url"},
    BINDINGS: {"target", "order", "enabled", "policy", "timeout"},
    GROUPS: {"name", "is_superuser", "include_users", "include_children", "include_parents",
             "include_inherited_roles"},
    SCOPES: {"managed", "name", "scope_name"},
    FLOWS: {"slug", "name", "designation"},
    CERTIFICATES: {"name", "managed", "has_key"},
}
# What one of a resource is found by.
KEYS = {APPLICATIONS: "slug", FLOWS: "slug"}
# Resources that a client of these tests only reads.
READ_ONLY = {FLOWS, CERTIFICATES}
