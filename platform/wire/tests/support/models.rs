//! Services that no model of AWS's is small enough for.

use towpath_api::model::*;

/// A service with a compressible operation.
pub static METRICS: Service = Service {
    name: "metrics",
    signing_name: "monitoring",
    endpoint_prefix: "monitoring",
    service_id: "Metrics",
    api_version: "2026-01-01",
    target_prefix: Some("Metrics"),
    xml_namespace: None,
    protocols: &[Protocol::AwsJson10],
    query_compatible: true,
    operations: &[Operation {
        name: "Put",
        http_method: "POST",
        http_uri: "/",
        http_status: 200,
        input: Some(0),
        output: Some(0),
        result_wrapper: None,
        errors: &[],
        request_compression: &["gzip"],
    }],
    refused: &[],
    shapes: &[
        Shape {
            name: "Metric",
            kind: Kind::Structure {
                members: &[Member {
                    name: "Name",
                    shape: 1,
                    required: true,
                    location: Location::Body,
                    location_name: None,
                    flattened: false,
                    xml_attribute: false,
                    idempotency_token: false,
                    time_format: None,
                }],
                payload: None,
                error: None,
                union: false,
            },
        },
        Shape {
            name: "Name",
            kind: Kind::String { min: None, max: None, pattern: None, values: &[], sensitive: false },
        },
    ],
};

const fn member(name: &'static str, location: Location, location_name: Option<&'static str>) -> Member {
    Member {
        name,
        shape: 1,
        required: matches!(location, Location::Uri),
        location,
        location_name,
        flattened: false,
        xml_attribute: false,
        idempotency_token: false,
        time_format: None,
    }
}

/// A service over HTTP's own verbs.
pub static FUNCTIONS: Service = Service {
    name: "functions",
    signing_name: "functions",
    endpoint_prefix: "functions",
    service_id: "Functions",
    api_version: "2026-01-01",
    target_prefix: None,
    xml_namespace: None,
    protocols: &[Protocol::RestJson1],
    query_compatible: false,
    operations: &[Operation {
        name: "PutFunction",
        http_method: "PUT",
        http_uri: "/functions/{Arn}/code",
        http_status: 201,
        input: Some(0),
        output: Some(0),
        result_wrapper: None,
        errors: &[],
        request_compression: &[],
    }],
    refused: &[],
    shapes: &[
        Shape {
            name: "Function",
            kind: Kind::Structure {
                members: &[
                    member("Arn", Location::Uri, Some("Arn")),
                    member("Qualifier", Location::Query, Some("Qualifier")),
                    member("Revision", Location::Header, Some("x-revision")),
                    member("Note", Location::Body, None),
                ],
                payload: None,
                error: None,
                union: false,
            },
        },
        Shape {
            name: "Text",
            kind: Kind::String { min: None, max: Some(60), pattern: None, values: &[], sensitive: false },
        },
    ],
};
